from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudy.report.best_so_far import (
    band_by_seconds,
    band_by_trials,
    best_so_far,
    mean_interval,
)

REACHED = st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=30)


@given(REACHED, st.booleans())
def test_best_so_far_never_gets_worse_and_is_the_best_until_then(
    values: list[float | None], maximize: bool
) -> None:
    curve = best_so_far(values, maximize=maximize)
    better = max if maximize else min
    for end, best in enumerate(curve):
        known = [value for value in values[: end + 1] if value is not None]
        assert math.isnan(best) if not known else best == better(known)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8))
def test_an_interval_lies_around_the_mean(values: list[float]) -> None:
    mean, low, high = mean_interval(values)
    assert low <= mean <= high
    assert mean == pytest.approx(np.mean(values))


def test_intervals_of_five_hold_the_mean_as_often_as_they_say() -> None:
    searches = np.random.default_rng(0).normal(3.0, 2.0, (5, 4000))
    _, low, high = mean_interval(searches)
    assert np.mean((low <= 3.0) & (high >= 3.0)) == pytest.approx(0.95, abs=0.012)


def test_a_band_begins_where_every_search_has_a_best_and_keeps_the_last_of_a_shorter_one() -> None:
    band = band_by_trials([[math.nan, 0.5, 0.6], [0.1, 0.3]], 4)
    assert band.x == [2, 3, 4]
    assert band.mean == pytest.approx([0.4, 0.45, 0.45])


def test_a_band_against_time_ends_with_the_first_search_that_ends() -> None:
    band = band_by_seconds([[0.1, 0.5], [0.3, 0.4]], [[1.0, 3.0], [2.0, 8.0]])
    assert band.x == [2, 3]
    assert band.mean == pytest.approx([0.2, 0.4])


def test_where_a_search_has_nothing_there_is_no_band() -> None:
    band = band_by_trials([[math.nan, math.nan], [0.1, 0.3]], 2)
    assert (band.x, band.mean) == ([], [])


def test_searches_that_did_not_overlap_in_time_have_no_band() -> None:
    band = band_by_seconds([[0.1], [0.3]], [[1.0], [2.0]])
    assert band.x == []
