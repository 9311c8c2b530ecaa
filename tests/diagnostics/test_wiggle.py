from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudy.diagnostics import LossWiggle

LOSSES = st.lists(st.floats(0.01, 100.0), min_size=3, max_size=50)


def wiggle(losses: list[float]) -> float | None:
    measured = LossWiggle()
    measured.add(losses)
    return measured.value


@pytest.mark.parametrize("spread", [0.01, 0.1])
@pytest.mark.parametrize("fall", [0.0, 1.0])
def test_it_is_the_relative_deviation_about_a_slow_trend(spread: float, fall: float) -> None:
    generator = np.random.default_rng(5)
    trend = 2.0 - fall * np.linspace(0, 1, 5000)
    losses = trend + generator.normal(0, spread, 5000)
    assert wiggle(losses.tolist()) == pytest.approx(spread / trend.mean(), rel=0.05)


def test_four_times_the_minibatch_gives_half_the_wiggle() -> None:
    losses = np.random.default_rng(5).gamma(2.0, 1.0, (4000, 128))
    small, large = losses[:, :32].mean(1), losses.mean(1)
    ratio = (wiggle(small.tolist()) or 0.0) / (wiggle(large.tolist()) or 1.0)
    assert ratio == pytest.approx(2.0, rel=0.1)


@given(LOSSES, st.floats(0.01, 100.0))
def test_it_does_not_depend_on_the_unit_of_the_loss(losses: list[float], unit: float) -> None:
    assert wiggle([unit * loss for loss in losses]) == pytest.approx(wiggle(losses), abs=1e-9)


@given(LOSSES, st.integers(0, 50))
def test_it_goes_on_from_its_state(losses: list[float], cut: int) -> None:
    first, second = LossWiggle(), LossWiggle()
    first.add(losses[:cut])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.add(losses[cut:])
    assert second.value == wiggle(losses)


def test_a_few_losses_and_zeros_have_none() -> None:
    assert wiggle([]) is None
    assert wiggle([1.0, 2.0]) is None
    assert wiggle([0.0, 0.0, 0.0]) is None
    assert wiggle([1.0, 1.0, 1.0]) == 0.0
