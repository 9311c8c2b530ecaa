from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from nnstudy.report.superiority import (
    holm,
    superiority,
    superiority_interval,
    superiority_p_value,
)

SCORES = st.lists(st.integers(0, 5).map(float) | st.just(-math.inf), min_size=2, max_size=8)


@given(SCORES, SCORES)
def test_either_of_two_beats_the_other_with_probabilities_that_add_up_to_one(
    first: list[float], second: list[float]
) -> None:
    assert superiority(first, second) + superiority(second, first) == pytest.approx(1)


@given(SCORES)
def test_against_its_like_the_probability_is_a_half(scores: list[float]) -> None:
    assert superiority(scores, scores) == pytest.approx(0.5)


@given(SCORES, SCORES)
def test_it_is_the_mann_whitney_u_over_the_pairs(first: list[float], second: list[float]) -> None:
    u = sum((a > b) + 0.5 * (a == b) for a in first for b in second)
    assert superiority(first, second) == pytest.approx(u / (len(first) * len(second)))
    if np.isfinite([*first, *second]).all():
        u = mannwhitneyu(first, second).statistic
        assert superiority(first, second) == pytest.approx(u / (len(first) * len(second)))


@given(SCORES, SCORES)
def test_an_interval_holds_the_estimate_and_mirrors_that_of_the_other_side(
    first: list[float], second: list[float]
) -> None:
    estimate = superiority(first, second)
    low, high = superiority_interval(estimate, len(first), len(second))
    assert 0 <= low <= estimate <= high <= 1
    mirrored = superiority_interval(1 - estimate, len(second), len(first))
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6)


def test_an_interval_gets_narrower_with_more_searches() -> None:
    widths = [
        high - low for n in (2, 5, 20, 100) for low, high in [superiority_interval(0.8, n, n)]
    ]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.15


def test_a_few_searches_that_all_win_are_not_certain_to_win() -> None:
    low, high = superiority_interval(1.0, 3, 3)
    assert high == 1
    assert low == pytest.approx(0.5, abs=0.02)
    assert 0.6 < superiority_interval(1.0, 5, 5)[0] < 0.7


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(1)
    shift = 1.0
    truth = 0.5 * (1 + math.erf(shift / 2))  # of two normals that are one deviation apart
    held = 0
    for _ in range(600):
        first, second = generator.normal(shift, 1, 5), generator.normal(0, 1, 5)
        low, high = superiority_interval(superiority(first, second), 5, 5)
        held += low <= truth <= high
    assert held / 600 > 0.93


@pytest.mark.parametrize(("seeds", "divisions"), [(2, 6), (3, 20), (5, 252)])
def test_the_p_value_of_a_clean_sweep_counts_the_ways_to_divide(seeds: int, divisions: int) -> None:
    first, second = np.arange(seeds) + 100.0, np.arange(seeds) + 0.0
    assert superiority_p_value(first.tolist(), second.tolist()) == pytest.approx(2 / divisions)


def test_ties_alone_tell_nothing() -> None:
    assert superiority_p_value([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]) == 1
    assert superiority_p_value([-math.inf] * 3, [-math.inf] * 3) == 1


@settings(max_examples=20)
@given(st.lists(st.integers(0, 4).map(float), min_size=4, max_size=6))
def test_the_p_value_is_that_of_all_ways_to_divide(scores: list[float]) -> None:
    first, second = scores[:2], scores[2:]
    observed = superiority(first, second)
    every = [
        superiority(
            [scores[i] for i in chosen], [s for i, s in enumerate(scores) if i not in chosen]
        )
        for chosen in combinations(range(len(scores)), 2)
    ]
    above = np.mean([value >= observed - 1e-12 for value in every])
    below = np.mean([value <= observed + 1e-12 for value in every])
    expected = min(1.0, 2 * min(above, below))
    assert superiority_p_value(first, second) == pytest.approx(expected)


def test_holm_multiplies_by_the_number_of_those_that_are_left() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
