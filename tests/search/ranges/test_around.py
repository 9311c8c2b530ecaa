import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from nnstudy.search.ranges.around import around
from nnstudy.search.ranges.given import Range, Ranges

RATE = FloatDistribution(1e-4, 10.0, log=True)


def searched(asked: BaseDistribution, best: object, factor: float = 10) -> BaseDistribution:
    ranges = Ranges([Range("p", asked, asked, "as asked for")])
    return around(ranges, {} if best is None else {"p": best}, factor).ranges[0].given


@pytest.mark.parametrize(
    ("best", "low", "high"),
    [(0.01, 1e-3, 0.1), (5.0, 0.5, 10.0), (1e-4, 1e-4, 1e-3), (40.0, 4.0, 40.0)],
)
def test_the_best_is_surrounded_within_what_was_asked_for(
    best: float, low: float, high: float
) -> None:
    given = searched(RATE, best)
    assert isinstance(given, FloatDistribution)
    assert (given.low, given.high, given.log) == (pytest.approx(low), pytest.approx(high), True)


@given(st.floats(1e-4, 10.0), st.floats(1.01, 1e3))
def test_the_best_can_be_run_again(best: float, factor: float) -> None:
    given = searched(RATE, best, factor)
    assert isinstance(given, FloatDistribution)
    assert given.low <= best <= given.high
    # Ends are rounded outwards to a hundredth of their size at most.
    assert math.log(given.high / given.low) <= 2 * math.log(factor * 1.02)


def test_whole_numbers_stay_whole() -> None:
    assert searched(IntDistribution(1, 1000, log=True), 20) == IntDistribution(2, 200, log=True)


@pytest.mark.parametrize(
    ("asked", "best"),
    [
        (FloatDistribution(0.0, 0.5), 0.1),
        (CategoricalDistribution([16, 32]), 16),
        (RATE, None),
        (RATE, 0.0),
        (FloatDistribution(0.1, 0.1, log=True), 0.1),
    ],
)
def test_what_has_no_surroundings_keeps_its_range(asked: BaseDistribution, best: object) -> None:
    assert searched(asked, best) == asked
