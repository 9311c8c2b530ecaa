from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudy.ensembles.answers import Answers
from nnstudy.ensembles.combination import combine, loss
from nnstudy.ensembles.selection import alone, bagged, greedy, select
from tests.ensembles.answering import any_answers, classifiers

WAYS = st.sampled_from(["probabilities", "logits", "geometric", "vote"])


def loss_of(answers: Answers, members: tuple[int, ...], how: str) -> float:
    counts = np.bincount(members, minlength=len(answers)).astype(float)
    return float(loss(combine(answers, counts, how), answers.targets))


@settings(max_examples=80, deadline=None)
@given(any_answers(), WAYS, st.integers(1, 8))
def test_greedy_is_never_worse_than_the_best_candidate_on_what_it_selects_on(
    answers: Answers, how: str, size: int
) -> None:
    found = greedy(answers, how, size)
    reached = float(loss(combine(answers, found.weights, how), answers.targets))
    assert reached <= alone(answers, how).min() + 1e-9
    assert reached == pytest.approx(found.losses.min(), abs=1e-9)
    assert found.weights.sum() <= size


@settings(max_examples=60, deadline=None)
@given(any_answers(), WAYS)
def test_the_second_addition_is_the_best_of_all_pairs_with_the_first(
    answers: Answers, how: str
) -> None:
    first = int(alone(answers, how).argmin())
    pairs = [loss_of(answers, (first, other), how) for other in range(len(answers))]
    assert greedy(answers, how, 2).losses[1] == pytest.approx(min(pairs), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(any_answers(least=2, most=2))
def test_two_additions_of_two_candidates_are_an_exhaustive_search(answers: Answers) -> None:
    # Of two candidates every set has the better one in it, or is the worse one alone.
    sets = [
        members
        for size in (1, 2)
        for members in itertools.combinations_with_replacement(range(2), size)
    ]
    best = min(loss_of(answers, members, "probabilities") for members in sets)
    assert greedy(answers, "probabilities", 2).losses.min() == pytest.approx(best, abs=1e-9)


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
