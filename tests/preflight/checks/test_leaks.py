"""Examples that are in two parts are found; data that repeat themselves are told from them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nnstudy import datasets
from nnstudy.data import Data, Split, load
from nnstudy.preflight.checks.leaks import CHECK
from tests.preflight.checks.candidates import clouds, line, only, plain


def joined(data: Data, part: str, count: int) -> Data:
    """Puts examples of a part into the training part as well."""
    taken = getattr(data, part)
    inputs = torch.cat([data.train.inputs, taken.inputs[:count]])  # type: ignore[attr-defined]
    targets = torch.cat([data.train.targets, taken.targets[:count]])
    return replace(data, train=type(data.train)(inputs, targets))  # type: ignore[call-arg]


@pytest.mark.parametrize("source", [datasets.digits, datasets.digits_rows, datasets.diabetes])
@pytest.mark.parametrize("seed", range(3))
def test_the_shipped_data_have_no_leaks(source: Any, seed: int) -> None:
    result = only(CHECK, plain(load(source, Split(seed=seed))))
    assert result.outcome == "passed", result.found
    assert result.figures["validation_in_training"] == 0
    assert result.figures["selection_in_validation"] == 0


@pytest.mark.parametrize("part", ["validation", "selection"])
@pytest.mark.parametrize("data", [clouds(1000), line(1000)], ids=["classes", "numbers"])
def test_a_part_that_is_trained_on_fails(data: Data, part: str) -> None:
    size = len(getattr(data, part))
    for count in (size, size // 4):
        result = only(CHECK, plain(joined(data, part, count)))
        assert result.outcome == "failed"
        assert f"{count} of {size} {part} examples are also in the training part" in result.found
        assert "Split first" in result.advice


def test_some_examples_in_both_are_warned_of_and_few_told() -> None:
    data = clouds(8000)
    assert only(CHECK, plain(joined(data, "validation", 8))).outcome == "warned"
    assert only(CHECK, plain(joined(data, "validation", 2))).outcome == "told"


def test_twins_in_a_small_set_are_no_leak() -> None:
    from sklearn.datasets import load_iris

    bunch = load_iris()
    for seed in range(8):
        data = load((bunch.data, bunch.target), Split(seed=seed))
        assert only(CHECK, plain(data)).outcome in ("passed", "told")


def test_data_that_repeat_themselves_are_warned_of_and_do_not_stop_a_launch() -> None:
    inputs = torch.randint(0, 3, (600, 4), generator=torch.Generator().manual_seed(1)).float()
    data = load(datasets.tensors(inputs, torch.arange(600) % 3))
    result = only(CHECK, plain(data))
    assert result.outcome == "warned"
    assert "have a double" in result.found


class Numbered(torch.utils.data.Dataset[Any]):
    """Some examples are there twice."""

    def __init__(self, different: int) -> None:
        self._different = different

    def __len__(self) -> int:
        return 400

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        which = position % self._different
        return torch.tensor([float(which), which**0.5]), which % 3


def test_a_sample_of_data_outside_memory_is_looked_at() -> None:
    for different, outcome in ((400, "passed"), (130, "warned")):
        data = load(datasets.from_dataset(Numbered(different), memory_limit=0))
        result = only(CHECK, plain(data))
        assert result.outcome == outcome, result.found


def test_the_test_part_is_not_opened() -> None:
    class Closed:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError("the test part was looked at")

    data = replace(clouds(), _test=Closed())  # type: ignore[arg-type]
    assert only(CHECK, plain(data)).outcome == "passed"
