from __future__ import annotations

import itertools
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudy.ensembles.answers import Answers, Array
from nnstudy.ensembles.combination import combine, loss
from nnstudy.ensembles.procedure import Procedure
from nnstudy.ensembles.selection import alone, bagged, greedy, select
from tests.ensembles.answering import any_answers, classifiers

MEANS = st.sampled_from(["probabilities", "logits", "geometric", "weighted"])
WAYS = MEANS | st.just("vote")


def loss_of(answers: Answers, counts: Array, how: str) -> float:
    return float(loss(combine(answers, counts, how), answers.targets))


@settings(max_examples=80, deadline=None)
@given(any_answers(), WAYS, st.integers(1, 8))
def test_greedy_is_never_worse_than_the_best_candidate_on_what_it_selects_on(
    answers: Answers, how: str, size: int
) -> None:
    found = greedy(answers, how, size)
    reached = loss_of(answers, found.weights, how)
    assert reached <= alone(answers, how).min() + 1e-9
    assert reached == pytest.approx(found.losses.min(), abs=1e-9)
    assert found.weights.sum() <= size


@settings(max_examples=60, deadline=None)
@given(any_answers(), WAYS, st.integers(1, 8), st.booleans())
def test_nor_is_what_is_weighed_and_calibrated_afterwards(
    answers: Answers, how: str, size: int, calibrate: bool
) -> None:
    procedure = Procedure("greedy", how, size)
    counts = procedure.selection(answers).weights
    fitted = procedure.fit(answers, counts, calibrate=calibrate)
    reached = float(loss(fitted.predict(answers).mean, answers.targets))
    assert reached <= alone(answers, how).min() + 1e-9


@settings(max_examples=60, deadline=None)
@given(any_answers(), WAYS)
def test_each_addition_is_the_best_of_all_to_what_was_added_before(
    answers: Answers, how: str
) -> None:
    found = greedy(answers, how, 4)
    before = [np.zeros(len(answers)), *found.path[:-1]]
    for counts, reached in zip(before, found.losses, strict=True):
        tried = [loss_of(answers, counts + one, how) for one in np.eye(len(answers))]
        assert reached == pytest.approx(min(tried), abs=1e-9)


@settings(max_examples=120, deadline=None)
@given(any_answers(most=4), WAYS)
def test_two_additions_are_an_exhaustive_search_if_a_best_set_has_the_best_candidate(
    answers: Answers, how: str
) -> None:
    """Sets of one or two, repetitions among them; the first addition is never taken back."""
    each = np.eye(len(answers))
    pairs = itertools.combinations_with_replacement(each, 2)
    sets = [*each, *(one + other for one, other in pairs)]
    losses = np.array([loss_of(answers, counts, how) for counts in sets])
    with_first = losses[np.array(sets)[:, alone(answers, how).argmin()] > 0].min()
    reached = greedy(answers, how, 2).losses.min()
    assert reached == pytest.approx(with_first, abs=1e-9)
    if with_first == losses.min():
        assert reached == pytest.approx(losses.min(), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(any_answers(least=2, most=2), MEANS)
def test_two_additions_of_two_candidates_are_an_exhaustive_search(
    answers: Answers, how: str
) -> None:
    # Each set has the better one in it, or is the worse one, of which there may be two: a mean
    # is the same then, though not a vote.
    sets = [*np.eye(2), np.ones(2), *(2 * np.eye(2))]
    best = min(loss_of(answers, counts, how) for counts in sets)
    assert greedy(answers, how, 2).losses.min() == pytest.approx(best, abs=1e-9)


def test_the_best_pair_may_be_without_the_best_candidate() -> None:
    # The first is a little unsure of both; the others are sure, each of its own.
    likelihoods = np.array([[0.5, 0.5], [0.96, 0.2], [0.2, 0.96]])
    probabilities = np.stack([likelihoods, 1 - likelihoods], axis=-1)
    answers = Answers(np.log(probabilities), probabilities, np.array([0, 0]))
    assert alone(answers, "probabilities").argmin() == 0
    pair = loss_of(answers, np.array([0.0, 1.0, 1.0]), "probabilities")
    assert pair < greedy(answers, "probabilities", 2).losses.min() - 0.01
    assert greedy(answers, "probabilities", 9).losses.min() < pair + 0.05


def test_the_best_set_on_the_way_is_taken_and_not_the_last() -> None:
    found = greedy(classifiers(6, 40, seed=3), "probabilities", 12)
    assert found.losses[found.chosen] == found.losses.min() < found.losses[-1]
    assert found.weights.sum() == found.chosen + 1 < found.path[-1].sum() == 12


def test_all_takes_the_first_and_best_k_those_with_the_least_loss() -> None:
    answers = classifiers(6, 60, seed=1)
    assert np.flatnonzero(select(answers, "all", "probabilities", 3).weights).tolist() == [0, 1, 2]
    chosen = np.flatnonzero(select(answers, "best-k", "probabilities", 3).weights)
    assert set(chosen) == set(np.argsort(alone(answers, "probabilities"))[:3])


def test_bags_repeat_with_their_seed_and_each_counts_once() -> None:
    answers = classifiers(8, 60, seed=2)
    counts = bagged(answers, "probabilities", 4, 10, seed=5)
    assert counts.sum() == pytest.approx(10)
    np.testing.assert_array_equal(counts, bagged(answers, "probabilities", 4, 10, seed=5))
    chosen = select(answers, "greedy", "probabilities", 3, bags=10, seed=5).weights
    assert np.count_nonzero(chosen) <= 3
    assert set(np.flatnonzero(chosen)) == set(np.argsort(-counts, kind="stable")[:3])


@pytest.mark.parametrize("how", ["probabilities", "logits"])
def test_greedy_takes_little_memory_beside_the_answers(how: str) -> None:
    answers = classifiers(50, 2000, 10)
    tracemalloc.start()
    greedy(answers, how, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < answers.scores.nbytes / 4


@pytest.mark.slow
def test_choosing_among_two_hundred_candidates_takes_seconds() -> None:
    answers = classifiers(200, 12_500, 10)
    started = time.process_time()
    greedy(answers, "probabilities", 10)
    assert time.process_time() - started < 10
