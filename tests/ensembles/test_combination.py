from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudy.ensembles.answers import Answers
from nnstudy.ensembles.combination import (
    class_probabilities,
    combine,
    fit_weights,
    fitting,
    loss,
)
from nnstudy.errors import UserError
from tests.ensembles.answering import any_answers, classifiers, regressors

WAYS = st.sampled_from(["probabilities", "logits", "geometric", "vote"])


@settings(max_examples=40, deadline=None)
@given(any_answers(), WAYS, st.integers(0, 5))
def test_a_member_that_counts_twice_is_a_member_that_is_there_twice(
    answers: Answers, how: str, which: int
) -> None:
    which %= len(answers)
    weights = np.ones(len(answers))
    weights[which] = 2
    twice = answers.of(np.append(np.arange(len(answers)), which))
    np.testing.assert_allclose(
        combine(answers, weights, how),
        combine(twice, np.ones(len(twice)), how),
        atol=1e-12,
    )


@settings(max_examples=40, deadline=None)
@given(any_answers())
def test_a_mean_is_never_worse_than_its_members_on_average(answers: Answers) -> None:
    equal = np.ones(len(answers))
    alone = [
        float(loss(combine(answers, np.eye(len(answers))[k], "probabilities"), answers.targets))
        for k in range(len(answers))
    ]
    together = float(loss(combine(answers, equal, "probabilities"), answers.targets))
    assert together <= np.mean(alone) + 1e-12


def test_the_geometric_mean_of_a_softmax_is_the_softmax_of_the_mean_score() -> None:
    answers = classifiers(4, 50)
    weights = np.array([1.0, 2.0, 0.0, 1.0])
    np.testing.assert_allclose(
        combine(answers, weights, "geometric"), combine(answers, weights, "logits"), rtol=1e-9
    )


def test_the_geometric_mean_is_another_where_probabilities_are_no_softmax() -> None:
    scores = classifiers(3, 50).scores
    answers = Answers(scores, class_probabilities(scores, "sigmoid"), np.zeros(50, dtype=int))
    np.testing.assert_allclose(answers.probabilities.sum(-1), 1)
    order = answers.probabilities.argsort(-1)
    np.testing.assert_array_equal(order, scores.argsort(-1))
    different = combine(answers, np.ones(3), "geometric") - combine(answers, np.ones(3), "logits")
    assert np.abs(different).max() > 0.01


def test_one_score_is_that_of_class_one_of_two() -> None:
    found = class_probabilities(np.array([[0.0], [np.log(3)]]), "softmax")
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.25, 0.75]])


def test_the_majority_wins_a_vote_however_sure_the_others_are() -> None:
    probabilities = np.array([[[0.51, 0.49]], [[0.51, 0.49]], [[0.001, 0.999]]])
    answers = Answers(np.log(probabilities), probabilities, np.array([0]))
    assert combine(answers, np.ones(3), "probabilities").argmax() == 1
    vote = combine(answers, np.ones(3), "vote")
    assert vote.argmax() == 0
    np.testing.assert_allclose(vote.sum(), 1)


def test_a_tie_of_votes_goes_to_the_class_with_more_probability() -> None:
    probabilities = np.array([[[0.6, 0.4, 0.0]], [[0.1, 0.9, 0.0]]])
    answers = Answers(probabilities, probabilities, np.array([0]))
    assert combine(answers, np.ones(2), "vote").argmax() == 1


@settings(max_examples=30, deadline=None)
@given(any_answers(least=2))
def test_fitted_weights_are_as_good_as_any_member_and_as_their_mean(answers: Answers) -> None:
    weights = fit_weights(answers)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    fitted = float(loss(combine(answers, weights, "weighted"), answers.targets))
    others = [*np.eye(len(answers)), np.ones(len(answers))]
    for other in others:
        assert fitted <= float(loss(combine(answers, other, "weighted"), answers.targets)) + 2e-3


def test_numbers_have_their_weighted_mean() -> None:
    answers = regressors(2, 5)
    np.testing.assert_allclose(
        combine(answers, np.array([3.0, 1.0]), "probabilities"),
        0.75 * answers.scores[0] + 0.25 * answers.scores[1],
    )


def test_votes_on_numbers_are_refused() -> None:
    assert fitting("weighted", "regression") == "weighted"
    with pytest.raises(UserError, match="--combine vote is for classes"):
        fitting("vote", "regression")
