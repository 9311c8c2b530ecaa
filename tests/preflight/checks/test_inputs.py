"""Inputs that are not normalised are warned of."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import nn

from nnstudy import augmentation, datasets
from nnstudy.data import Data, Source, load
from nnstudy.preflight.checks.inputs import CHECK
from tests.preflight.checks.candidates import only, plain

Mode = Literal["standardise", "unit", "none"]


def images(normalise: Mode = "standardise", **made: Any) -> Data:
    generator = torch.Generator().manual_seed(1)
    bytes_ = torch.randint(0, 256, (300, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return load(datasets.tensors(bytes_, torch.arange(300) % 3, normalise=normalise, **made))


def table(*scales: float, normalise: Mode = "none", shift: float = 0.0) -> Source:
    inputs = torch.randn(300, len(scales), generator=torch.Generator().manual_seed(1))
    scaled = inputs * torch.tensor(scales) + shift
    return datasets.tensors(scaled, torch.arange(300) % 3, normalise=normalise)


GOOD = {
    "standardised bytes": images(),
    "bytes in [0, 1]": images("unit"),
    "standardised table": load(table(1e3, 1e-3, normalise="standardise", shift=7.0)),
    "table in [0, 1]": load(table(1e3, 1e-3, normalise="unit")),
    "table as it came": load(table(1.0, 2.0, 0.5)),
}
BAD = {
    "bytes": images("none"),
    "far from zero": load(table(1.0, 1.0, shift=20.0)),
    "tiny and shifted": load(table(1e-3, 1e-3, shift=5.0)),
    "different scales": load(table(1.0, 0.05)),
}


@pytest.mark.parametrize("name", GOOD)
def test_normalised_inputs_pass(name: str) -> None:
    result = only(CHECK, plain(GOOD[name]))
    assert result.outcome == "passed", result.found


@pytest.mark.parametrize("name", BAD)
def test_inputs_that_are_not_normalised_are_warned_of(name: str) -> None:
    result = only(CHECK, plain(BAD[name]))
    assert (result.outcome, result.kind) == ("warned", "statistics")
    assert "normalise='standardise'" in result.advice


def test_figures_are_those_of_the_numbers_the_network_gets() -> None:
    data = images("none")
    result = only(CHECK, plain(data))
    pixels = next(data.train.minibatches(1000))[0]
    assert result.figures["mean"] == pytest.approx(pixels.mean().item())
    assert result.figures["std"] == pytest.approx(pixels.std(correction=0).item())
    assert (result.figures["low"], result.figures["high"]) == (pixels.min(), pixels.max())


def test_a_network_that_normalises_first_is_told_of() -> None:
    network = lambda d: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 3))  # noqa: E731
    assert only(CHECK, plain(images("none"), network=network)).outcome == "told"


def test_constant_features_are_told() -> None:
    result, told = CHECK.run(plain(load(table(1.0, 0.0, 0.0, normalise="standardise"))))
    assert (result.outcome, told.outcome) == ("passed", "told")
    assert "2 of 3 features are constant" in told.found


def test_inputs_that_are_all_alike_are_warned_of() -> None:
    result = only(CHECK, plain(load(table(0.0, 0.0))))
    assert result.outcome == "warned"
    assert "all inputs are 0" in result.found


def test_what_augmentation_does_is_seen() -> None:
    result = only(CHECK, plain(images(), augmentation=lambda x: x * 255))
    assert result.outcome == "warned"
    assert only(CHECK, plain(images(), augmentation=augmentation.shift(1))).outcome == "passed"
    result = only(CHECK, plain(images(), augmentation=torch.log))
    assert result.outcome == "failed"
    assert "NaN or infinite" in result.found


def test_indices_are_left_alone() -> None:
    data = load(datasets.tensors(torch.randint(0, 9, (200, 5)), torch.arange(200) % 3))
    assert only(CHECK, plain(data, network=lambda _: nn.Embedding(9, 3))).outcome == "skipped"
