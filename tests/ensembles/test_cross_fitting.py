from __future__ import annotations

import numpy as np
import pytest

from nnstudy.ensembles.answers import Answers
from nnstudy.ensembles.cross_fitting import FOLDS, compare, folds
from nnstudy.ensembles.procedure import Procedure
from nnstudy.errors import UserError
from tests.ensembles.answering import classifiers, regressors


def test_each_example_is_measured_once_and_never_chosen_by_then() -> None:
    answers = classifiers(1, 53)
    dealt = list(folds(answers, 0))
    assert len(dealt) == FOLDS
    assert sorted(np.concatenate([measured for _, measured in dealt])) == list(range(53))
    for chosen_by, measured in dealt:
        assert set(chosen_by) | set(measured) == set(range(53))
        assert not set(chosen_by) & set(measured)


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(UserError, match="9 examples; at least 10"):
        compare(classifiers(2, 9), Procedure())


def test_classes_that_are_rare_are_no_obstacle() -> None:
    answers = classifiers(3, 30)
    answers.targets[:] = 0
    answers.targets[7] = 2
    assert compare(answers, Procedure(size=2)).rows["ensemble"].numbers["accuracy"] <= 1


def test_an_answer_stays_with_its_example() -> None:
    answers = classifiers(1, 60, skill=8)
    found = compare(answers, Procedure(size=1))
    right = (answers.probabilities[0].argmax(-1) == answers.targets).mean()
    assert found.rows["ensemble"].numbers["accuracy"] == pytest.approx(right)
    assert found.mean_member["accuracy"] == pytest.approx(right)
    assert (found.prediction.mean.argmax(1) == answers.probabilities[0].argmax(-1)).all()
    sure = answers.probabilities[0].max(-1)
    assert found.uncertainty.total[sure.argmin()] > found.uncertainty.total[sure.argmax()]
    assert found.uncertainty.disagreement.max() == pytest.approx(0, abs=1e-12)


def test_networks_that_know_nothing_promise_nothing() -> None:
    """Selected and measured on the same examples they seem to be good."""
    flattered, honest = [], []
    for seed in range(4):
        generator = np.random.default_rng(seed)
        probabilities = generator.dirichlet([1, 1], size=(30, 40))
        answers = Answers(np.log(probabilities), probabilities, generator.integers(2, size=40))
        procedure = Procedure(size=10)
        chosen = procedure.selection(answers)
        flattered.append(chosen.losses.min())
        honest.append(compare(answers, procedure).rows["ensemble"].numbers["nll"])
    assert np.mean(flattered) < np.log(2) - 0.1
    assert np.mean(honest) > np.log(2)


def test_networks_that_err_apart_are_better_together() -> None:
    found = compare(classifiers(12, 400, seed=4), Procedure(size=8))
    assert found.nll_gain.low > 0
    single, final = (
        found.rows[name].numbers["nll"]
        for name in ("single best, calibrated", "ensemble, calibrated")
    )
    assert found.nll_gain.mean == pytest.approx(single - final, abs=1e-9)
    assert [point.size for point in found.curve] == list(range(1, 9))
    assert found.curve[-1].numbers["nll"] < found.curve[0].numbers["nll"]
    assert found.curve[0].numbers["nll"] == pytest.approx(single, abs=1e-9)


@pytest.mark.parametrize("combine", ["probabilities", "weighted"])
def test_numbers_are_combined_with_their_variance(combine: str) -> None:
    found = compare(regressors(8, 100), Procedure(combination=combine, size=6))
    assert list(found.rows) == ["best of the search", "single best", "ensemble"]
    assert found.gain.low > 0
    assert found.nll_gain.mean > 0


@pytest.mark.parametrize("combine", ["logits", "geometric", "weighted", "vote"])
@pytest.mark.parametrize("select", ["all", "best-k", "greedy"])
def test_each_way_of_choosing_goes_with_each_way_of_combining(select: str, combine: str) -> None:
    found = compare(classifiers(4, 60), Procedure(select, combine, size=3))
    assert found.rows["ensemble, calibrated"].numbers["nll"] < np.log(3)
