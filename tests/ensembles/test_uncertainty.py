from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nnstudy.ensembles.answers import Answers
from nnstudy.ensembles.procedure import Fitted, Procedure
from nnstudy.ensembles.uncertainty import Uncertainty, errors_of_the_surest, uncertainty
from tests.ensembles.answering import any_answers, classifiers, regressors


def of(*probabilities: list[float], weights: list[float]) -> Uncertainty:
    """Of one example that each member answers with these probabilities."""
    array = np.array(probabilities)[:, None]
    counts = np.array(weights)
    answers = Answers(np.zeros_like(array), array, np.array([0]))
    return uncertainty(answers, Fitted(counts / counts.sum(), counts, "probabilities"))


def test_members_that_are_sure_of_different_classes_disagree_by_all_there_is() -> None:
    found = of([1.0, 0.0], [0.0, 1.0], weights=[1, 1])
    assert (found.total[0], found.disagreement[0]) == pytest.approx((np.log(2), np.log(2)))


def test_members_that_know_nothing_do_not_disagree() -> None:
    found = of([0.5, 0.5], [0.5, 0.5], weights=[2, 1])
    assert (found.total[0], found.disagreement[0]) == pytest.approx((np.log(2), 0))


def test_a_member_disagrees_as_much_as_it_counts() -> None:
    found = of([1.0, 0.0], [0.0, 1.0], [0.3, 0.7], weights=[3, 1, 0])
    wanted = -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    assert (found.total[0], found.disagreement[0]) == pytest.approx((wanted, wanted))


@settings(max_examples=40, deadline=None)
@given(any_answers(), st.integers(0, 1000))
def test_disagreement_is_a_part_of_the_uncertainty_of_a_mean(answers: Answers, seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 4, len(answers)) + 1.0
    found = uncertainty(answers, Procedure().fit(answers, counts, calibrate=False))
    assert found.total.shape == found.disagreement.shape == (answers.examples,)
    assert found.disagreement.min() >= 0
    assert (found.disagreement <= found.total + 1e-12).all()


@pytest.mark.parametrize("combination", ["logits", "geometric", "vote", "weighted"])
def test_disagreement_is_the_members_own_and_the_total_what_is_told(combination: str) -> None:
    answers = classifiers(4, 50)
    plain = Fitted(np.full(4, 0.25), np.ones(4), "probabilities")
    other = Fitted(np.full(4, 0.25), np.ones(4), combination, temperature=2.0)
    found = uncertainty(answers, other)
    np.testing.assert_allclose(found.disagreement, uncertainty(answers, plain).disagreement)
    told = other.predict(answers).mean
    np.testing.assert_allclose(found.total, -(told * np.log(told)).sum(1))


def test_the_variance_of_numbers_is_the_members_and_the_noise() -> None:
    answers = regressors(3, 10)
    fitted = Fitted(np.array([0.5, 0.0, 0.5]), np.array([1.0, 0.0, 1.0]), "probabilities", noise=2)
    found = uncertainty(answers, fitted)
    np.testing.assert_allclose(found.disagreement, answers.scores[[0, 2]].var(0).mean(1))
    np.testing.assert_allclose(found.total - found.disagreement, 2)


def test_the_error_of_the_surest_is_that_of_those_left_when_others_are_left_out() -> None:
    errors, total = np.array([1.0, 0.0, 0.0, 1.0]), np.array([0.9, 0.1, 0.3, 0.2])
    np.testing.assert_allclose(errors_of_the_surest(errors, total), [0, 1 / 2, 1 / 3, 1 / 2])


@given(any_answers())
@settings(max_examples=30, deadline=None)
def test_knowing_which_are_wrong_is_the_best_that_uncertainty_can_do(answers: Answers) -> None:
    assume(answers.examples > 1)
    fitted = Procedure().fit(answers, np.ones(len(answers)))
    errors = fitted.predict(answers).measure(answers).errors
    found = errors_of_the_surest(errors, uncertainty(answers, fitted).total)
    assert (errors_of_the_surest(errors, errors) <= found + 1e-12).all()
    assert found[-1] == pytest.approx(errors.mean())
