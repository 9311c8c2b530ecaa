from __future__ import annotations

import numpy as np
import pytest

from nnstudy.ensembles.answers import Answers
from nnstudy.ensembles.diversity import diversity
from tests.ensembles.answering import regressors


def of_labels(labels: list[list[int]], targets: list[int]) -> Answers:
    probabilities = np.eye(2)[np.array(labels)]
    return Answers(probabilities, probabilities, np.array(targets))


def test_disagreement_and_correlation_are_means_over_pairs() -> None:
    answers = of_labels([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]], [0, 0, 0, 0])
    found = diversity(answers)
    assert found.disagreement == pytest.approx(np.mean([0.25, 0.5, 0.75]))
    wrong = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]])
    assert found.error_correlation == pytest.approx(
        np.corrcoef(wrong)[np.triu_indices(3, 1)].mean()
    )


def test_members_with_the_same_answers_do_not_disagree() -> None:
    found = diversity(of_labels([[1, 0], [1, 0]], [0, 0]))
    assert (found.disagreement, found.error_correlation) == (0, pytest.approx(1))


def test_what_there_is_none_of_is_not_told() -> None:
    assert diversity(of_labels([[1, 0]], [0, 0])).disagreement is None
    assert diversity(of_labels([[0, 0], [0, 0]], [0, 0])).error_correlation is None


def test_numbers_differ_by_their_squared_distance() -> None:
    answers = regressors(2, 20)
    found = diversity(answers)
    assert found.disagreement == pytest.approx(
        np.square(answers.scores[0] - answers.scores[1]).mean()
    )
    assert -1 <= found.error_correlation <= 1
