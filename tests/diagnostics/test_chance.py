from __future__ import annotations

from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nnstudy.diagnostics.chance import compare_accuracy, compare_errors


def labels(examples: int, classes: int) -> np.ndarray:
    return np.arange(examples) % classes


def false_alarms(examples: int, classes: int, looks: int = 1) -> float:
    """The probability that one of so many sets of guesses is called better than chance."""
    truth = labels(examples, classes)
    chance = float(np.bincount(truth).max() / examples)
    # The more are right, the better: the least number is found by halving.
    least = bisect_left(
        range(examples + 1), True, key=lambda k: compare_accuracy(k, truth, looks=looks).better
    )
    single = float(stats.binom.sf(least - 1, examples, chance))
    return 1 - (1 - single) ** looks


def test_accuracy_is_told_with_interval_and_share_of_the_commonest_class() -> None:
    truth = [0] * 70 + [1] * 30
    found = compare_accuracy(90, truth)
    assert (found.correct, found.examples, found.value, found.chance) == (90, 100, 0.9, 0.7)
    # Beta quantiles: Clopper and Pearson's interval of 90 of 100.
    assert found.low == pytest.approx(stats.beta.ppf(0.025, 90, 11))
    assert found.high == pytest.approx(stats.beta.ppf(0.975, 91, 10))
    assert found.better


def test_beating_one_in_as_many_as_there_are_classes_is_not_enough() -> None:
    truth = [0] * 70 + [1] * 30
    assert compare_accuracy(70, truth).low > 0.5
    assert not compare_accuracy(70, truth).better


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("examples", [10, 22, 43, 100])
def test_two_verdicts_on_guesses_are_false_at_most_one_time_in_twenty(
    examples: int, classes: int
) -> None:
    assert 2 * false_alarms(examples, classes) <= 0.05


@pytest.mark.parametrize("looks", [5, 30])
def test_best_of_many_looks_is_false_no_more_often_than_a_single_one(looks: int) -> None:
    assert false_alarms(100, 2) > 0.01
    assert false_alarms(100, 2, looks) <= 0.025
    # Without the correction it would be.
    uncorrected = 1 - (1 - false_alarms(100, 2)) ** looks
    assert uncorrected > 0.05


def test_best_of_many_on_one_slice_is_judged_fairly_on_another() -> None:
    draws = np.random.default_rng(0)
    better = np.array([compare_accuracy(k, labels(50, 2)).better for k in range(51)])
    validated, unseen = draws.binomial(50, 0.5, size=(2, 2000, 80))  # rates and validations
    chosen = validated.argmax(1)[:, None]
    assert better[np.take_along_axis(unseen, chosen, 1)].mean() <= 0.05
    assert better[np.take_along_axis(validated, chosen, 1)].mean() > 0.5


@given(examples=st.integers(2, 200), share=st.floats(0, 1), looks=st.integers(1, 100))
@settings(max_examples=50, deadline=None)
def test_interval_holds_the_value_and_widens_with_looks(
    examples: int, share: float, looks: int
) -> None:
    correct = round(share * examples)
    one = compare_accuracy(correct, labels(examples, 2))
    many = compare_accuracy(correct, labels(examples, 2), looks=looks)
    assert 0 <= many.low <= one.low <= one.value <= one.high <= many.high <= 1
    assert one.could_be or not one.better


def test_it_says_where_there_are_too_few_examples_for_any_answer() -> None:
    assert not compare_accuracy(4, [0, 1, 0, 1]).could_be
    assert not compare_accuracy(50, [0] * 48 + [1] * 2).could_be
    assert compare_accuracy(40, labels(100, 2)).could_be


@pytest.mark.parametrize(("correct", "truth"), [(0, []), (3, [0, 1]), (-1, [0, 1])])
def test_impossible_counts_are_refused(correct: int, truth: list[int]) -> None:
    with pytest.raises(ValueError, match="cannot be right"):
        compare_accuracy(correct, np.array(truth, dtype=int))


def test_answers_that_halve_the_errors_are_better_than_the_mean() -> None:
    draws = np.random.default_rng(1)
    truth = draws.standard_normal(60)
    answers = 0.8 * truth + 0.3 * draws.standard_normal(60)
    found = compare_errors((answers - truth) ** 2, truth**2)
    assert found.better
    assert found.low < found.value < found.high < 1
    assert found.chance == 1
    assert found.value == pytest.approx(((answers - truth) ** 2).sum() / (truth**2).sum())
    assert found == compare_errors((answers - truth) ** 2, truth**2)


@pytest.mark.parametrize("examples", [20, 100])
def test_answers_no_better_than_the_mean_are_called_better_at_most_one_time_in_twenty(
    examples: int,
) -> None:
    draws = np.random.default_rng(2)
    alarms = 0
    for seed in range(40):
        truth = draws.standard_normal(examples)
        # Two constants, one on each side of the mean: equally good.
        alarms += compare_errors((truth - 0.3) ** 2, (truth + 0.3) ** 2, seed=seed).better
    assert alarms <= 2


def test_the_mean_itself_is_not_better_than_the_mean() -> None:
    errors = np.random.default_rng(3).random(30)
    found = compare_errors(errors, errors)
    assert (found.value, found.low, found.high, found.better) == (1, 1, 1, False)


@pytest.mark.parametrize(
    ("errors", "of_mean"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, 2.0], [0.0, 0.0])]
)
def test_errors_that_cannot_be_compared_are_refused(
    errors: list[float], of_mean: list[float]
) -> None:
    with pytest.raises(ValueError, match="two errors or more"):
        compare_errors(errors, of_mean)
