import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution

from nnstudy.search.ranges.scale import Scale

RATE = FloatDistribution(1e-4, 1.0, log=True)


def test_positions_follow_the_scale_that_is_searched() -> None:
    assert Scale(RATE).position(1e-2) == pytest.approx(0.5)
    assert Scale(FloatDistribution(0.0, 0.5)).position(0.125) == pytest.approx(0.25)
    assert Scale(IntDistribution(16, 256, log=True)).position(64) == pytest.approx(0.5)


@given(st.floats(-1, 2), st.booleans())
def test_a_value_lies_at_its_position(position: float, log: bool) -> None:
    scale = Scale(FloatDistribution(0.5, 8.0, log=log))
    assume(not log or scale.value(position) > 0)
    assert scale.position(scale.value(position)) == pytest.approx(position, abs=1e-9)


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from([1, 3, 8]))
def test_whole_numbers_and_steps_are_rounded_outwards_to_the_asked_ones(
    one: float, other: float, step: int
) -> None:
    low, high = sorted((one, other))
    asked = IntDistribution(8, 8 + 24, step=step)
    scale = Scale(asked)
    between = scale.between(low, high)
    assert isinstance(between, IntDistribution)
    assert (between.low - asked.low) % step == 0
    assert asked.low <= between.low <= scale.value(low) + 1e-6
    assert between.high >= scale.value(high) - 1e-6
    assert between.high <= asked.high


def test_the_whole_range_is_the_range() -> None:
    for asked in (RATE, FloatDistribution(0.0, 0.5, step=0.1), IntDistribution(16, 256, log=True)):
        assert Scale(asked).between(0, 1) == asked


def test_a_range_beyond_the_ends_keeps_to_the_limits() -> None:
    wider = Scale(FloatDistribution(0.0, 0.5)).between(-0.5, 3, limits=(0.0, 0.95))
    assert (wider.low, wider.high) == (0.0, 0.95)
    wider = Scale(RATE).between(0, 1.5, limits=(None, None))
    assert wider.high == pytest.approx(100.0)
    assert Scale(IntDistribution(1, 8, log=True)).between(-1, 1).low == 1


def test_a_step_is_not_lost_to_rounding() -> None:
    between = Scale(FloatDistribution(0.1, 0.9, step=0.1)).between(0.25, 0.5)
    assert math.isclose(between.low, 0.3)
    assert math.isclose(between.high, 0.5)


def test_the_least_of_all_numbers_has_a_place() -> None:
    between = Scale(FloatDistribution(5e-324, 1.0, log=True)).between(0, 0.5)
    assert between.low == 5e-324


@given(st.integers(1, 9), st.integers(-8, 8), st.sampled_from([1, 3]), st.booleans())
def test_steps_are_counted_from_the_nearest_one(
    first: int, steps: int, step: int, log: bool
) -> None:
    asked = IntDistribution(1, 28, log=log and step == 1, step=step)
    scale = Scale(asked)
    start = 1 + (first - 1) * step
    there = start + steps * step
    found = scale.value(scale.stepped(scale.position(start + 0.4 * step), steps))
    # A logarithm has no place below one.
    assert found == pytest.approx(max(there, 1) if asked.log else there)


def test_without_steps_every_position_is_one() -> None:
    assert Scale(RATE).stepped(0.3, 2) == 0.3
