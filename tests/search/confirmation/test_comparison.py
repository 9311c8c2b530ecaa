"""Laws of the comparison, and how often it is wrong."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from nnstudy.search.confirmation.comparison import (
    LEVEL,
    PROMISED,
    Comparison,
    compare,
    is_best,
)

tables = st.tuples(st.integers(2, 5), st.integers(2, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-1000, 1000).map(float))
)


def told(found: Comparison) -> tuple[object, ...]:
    """What is told of each configuration, whatever their order was."""
    return found.is_decided, set(found.candidates), {one.index for one in found.ranked[:1]}


@given(tables, st.randoms(use_true_random=False))
def test_order_of_configurations_and_of_seeds_does_not_matter(table, random) -> None:
    means = table.mean(1)
    assume(len(set(means)) == len(means))
    rows, columns = list(range(len(table))), list(range(table.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    decided, candidates, first = told(compare(table, maximize=True))
    shuffled = compare(table[rows][:, columns], maximize=True)
    assert shuffled.is_decided == decided
    assert {rows[index] for index in shuffled.candidates} == candidates
    assert {rows[shuffled.ranked[0].index]} == first


@given(tables, st.sampled_from([-4.0, 0.0, 1024.0]), st.sampled_from([0.25, 1.0, 8.0]))
def test_shift_and_scale_of_scores_do_not_matter(table, shift, scale) -> None:
    before, after = compare(table, maximize=True), compare(table * scale + shift, maximize=True)
    assert told(after) == told(before)
    assert after.noise == pytest.approx(before.noise * scale)
    for one, other in zip(before.differences, after.differences, strict=True):
        assert other.mean == pytest.approx(one.mean * scale)
        assert other.seeds_needed == one.seeds_needed


@given(tables)
def test_smaller_is_better_where_the_sign_of_scores_is_turned(table) -> None:
    larger, smaller = compare(table, maximize=True), compare(-table, maximize=False)
    assert told(smaller) == told(larger)
    assert [one.mean for one in smaller.differences] == [one.mean for one in larger.differences]


@given(tables)
def test_what_is_called_best_agrees_with_intervals_and_with_the_rule_for_arrays(table) -> None:
    found = compare(table, maximize=True)
    assert found.is_decided == all(one.beaten for one in found.differences)
    assert found.is_decided == bool(is_best(table))
    assert len(found.candidates) == 1 or not found.is_decided
    assert found.is_decided or len(found.candidates) > 1
    for one in found.differences:
        if one.beaten:
            assert one.interval[0] > 0


def test_two_configurations_are_compared_by_the_paired_t_test() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(loc=[[1.5], [0.0]], size=(2, 6))
    found = compare([second, first], maximize=True)
    expected = stats.ttest_rel(first, second)
    interval = expected.confidence_interval(1 - LEVEL)
    assert found.ranked[0].index == 1
    assert found.differences[0].interval == pytest.approx((interval.low, interval.high))
    assert found.is_decided == (expected.pvalue < LEVEL)
    mean = stats.t.interval(0.95, 5, first.mean(), first.std(ddof=1) / math.sqrt(6))
    assert found.ranked[0].interval == pytest.approx(mean)
    assert found.noise == pytest.approx(math.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2))


NOISES = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed to good scores": lambda rng, shape: rng.lognormal(size=shape),
    "skewed to bad scores": lambda rng, shape: -rng.lognormal(size=shape),
    "accuracies of 100 examples": lambda rng, shape: rng.binomial(100, 0.95, shape) / 100,
}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("configurations", [2, 3, 10])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_of_equal_configurations_hardly_ever_one_is_called_best(
    noise: str, configurations: int, seeds: int
) -> None:
    scores = NOISES[noise](np.random.default_rng(1), (2000, configurations, seeds))
    assert is_best(scores).mean() <= PROMISED


def test_equal_configurations_of_unequal_noise_do_not_mislead() -> None:
    spread = np.array([5.0, 5.0, 1.0, 1.0])[:, None]
    scores = np.random.default_rng(2).normal(size=(2000, 4, 5)) * spread
    assert is_best(scores).mean() <= PROMISED


def test_the_best_is_hardly_ever_left_out_of_those_that_may_be_it() -> None:
    rng = np.random.default_rng(4)
    tables = rng.normal(size=(500, 5, 5)) + np.array([0.3, 0.0, 0.0, -0.5, -2.0])[:, None]
    found = [compare(table, maximize=True) for table in tables]
    left_out = [0 not in one.candidates for one in found if not one.is_decided]
    assert np.mean(left_out) <= PROMISED


def test_noise_that_seeds_share_does_not_hide_a_difference() -> None:
    shared = np.array([0.0, 3.0, -2.0, 5.0, 1.0])
    own = np.array([0.01, -0.02, 0.0, 0.02, -0.01])
    found = compare([shared + 0.1 + own, shared], maximize=True)
    assert found.is_decided
    assert found.differences[0].mean == pytest.approx(0.1)


def test_a_configuration_with_a_failed_training_cannot_be_best() -> None:
    found = compare([[9.0, math.nan, 9.1], [1.0, 1.1, 0.9], [2.0, 2.2, 1.9]], maximize=True)
    assert [one.index for one in found.ranked] == [2, 1, 0]
    assert found.ranked[2] == replace(found.ranked[2], failures=1, seeds=2, mean=9.05)
    assert 0 not in found.candidates
    assert [one.index for one in found.differences] == [1]


def test_where_all_have_failed_trainings_there_is_no_first() -> None:
    found = compare([[math.nan, 1.0], [math.nan, math.nan]], maximize=False)
    assert found.first is None
    assert found.candidates == ()
    assert not found.is_decided
    assert found.noise is None


def test_one_configuration_alone_wins_over_nobody() -> None:
    found = compare([[1.0, 2.0, 3.0]], maximize=True)
    assert found.first == found.ranked[0]
    assert not found.is_decided
    assert found.noise == 1.0


def test_differences_without_spread_are_not_believed() -> None:
    found = compare([[0.9, 0.9, 0.9], [0.8, 0.8, 0.8]], maximize=True)
    assert not found.is_decided
    assert found.differences[0].seeds_needed is None


def test_seeds_that_would_be_needed_are_enough() -> None:
    rng = np.random.default_rng(5)
    found = compare([[1.0, 0.2, 0.9, -0.1], [0.0, 0.4, -0.4, 0.3]], maximize=True)
    assert not found.is_decided
    needed = found.differences[0].seeds_needed
    assert needed is not None
    gains = np.array([1.0, -0.2, 1.3, -0.4])
    scores = np.zeros((4000, 2, needed))
    scores[:, 0] = rng.normal(gains.mean(), gains.std(ddof=1), size=(4000, needed))
    assert is_best(scores).mean() == pytest.approx(0.8, abs=0.03)
