"""Labels that do not belong to their inputs are warned of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from nnstudy import datasets, losses
from nnstudy.data import Data, Split, load
from nnstudy.preflight.checks import labels
from nnstudy.preflight.checks.labels import CHECK
from tests.preflight.checks.candidates import clouds, line, only, plain


def mixed(data: Data, *parts: str, seed: int = 0) -> Data:
    """Shuffles the labels of parts."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name in parts:
        part = getattr(data, name)
        order = torch.randperm(len(part), generator=generator)
        made[name] = part.with_targets(part.targets[order])
    return replace(data, **made)


SETS = {
    "classes": clouds(900, distance=1.0),
    "numbers": line(noise=3.0),
    "digits": load(datasets.digits, Split(seed=2)),
}


@pytest.mark.parametrize("name", SETS)
def test_labels_that_belong_to_their_inputs_pass(name: str) -> None:
    result = only(CHECK, plain(SETS[name]))
    assert result.outcome == "passed", result.found
    assert result.kind == "statistics"
    assert result.figures["true"] < result.figures["shuffled"]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("parts", [("train", "validation"), ("train",)])
@pytest.mark.parametrize("seed", range(2))
def test_shuffled_labels_are_warned_of(name: str, parts: tuple[str, ...], seed: int) -> None:
    result = only(CHECK, plain(mixed(SETS[name], *parts, seed=seed)))
    assert result.outcome == "warned", result.found
    assert "out of step" in result.advice


def test_labels_that_are_shifted_by_one_example_are_warned_of() -> None:
    bunch = load(datasets.digits).train
    images = next(bunch.minibatches(len(bunch)))[0]
    shifted = load(datasets.tensors(images, bunch.targets.roll(1)))
    assert only(CHECK, plain(shifted)).outcome == "warned"


def test_one_output_for_two_classes_is_judged_as_well() -> None:
    fields = {"network": lambda _: nn.Linear(8, 1), "loss": losses.BinaryCrossEntropy()}
    assert only(CHECK, plain(clouds(classes=2), **fields)).outcome == "passed"


def test_labels_that_are_all_alike_cannot_be_shuffled() -> None:
    data = clouds()
    alike = data.train.with_targets(torch.zeros_like(data.train.targets))
    assert only(CHECK, plain(replace(data, train=alike))).outcome == "skipped"


def test_a_network_that_is_too_slow_to_tell_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "SECONDS", 0.0)
    assert only(CHECK, plain(SETS["digits"])).outcome == "skipped"
