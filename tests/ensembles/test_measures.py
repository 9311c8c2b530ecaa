from __future__ import annotations

import json

import numpy as np
import pytest

from nnstudy.ensembles.measures import (
    BINS,
    Interval,
    measure_classes,
    measure_numbers,
    reliability,
)
from tests.ensembles.answering import classifiers


def test_measures_of_a_few_answers_are_those_one_works_out_by_hand() -> None:
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.1, 0.9]])
    targets = np.array([0, 1, 1, 1])
    found = measure_classes(probabilities, targets)
    assert found.interval.mean == 0.75
    assert found.nll == pytest.approx(-np.log([0.8, 0.4, 0.7, 0.9]).mean())
    assert found.brier == pytest.approx(2 * np.mean([0.04, 0.36, 0.09, 0.01]))
    # Each answer is alone in its bin.
    assert found.ece == pytest.approx(np.mean([0.2, 0.6, 0.3, 0.1]))
    assert [(one.precision, one.recall, one.support) for one in found.classes] == [
        (0.5, 1.0, 1),
        (1.0, pytest.approx(2 / 3), 3),
    ]
    assert json.loads(json.dumps(found.describe()))["accuracy"]["mean"] == 0.75


def test_a_class_that_no_example_has_is_measured_too() -> None:
    found = measure_classes(np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]]), np.array([0, 0]))
    assert [one.support for one in found.classes] == [2, 0, 0]


def test_answers_that_are_quite_sure_fall_into_the_last_bin() -> None:
    (only,) = reliability(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([1, 1]))
    assert (only.count, only.confidence, only.accuracy) == (2, 1.0, 0.5)


@pytest.mark.slow
def test_the_calibration_error_is_that_of_torchmetrics() -> None:
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    answers = classifiers(1, 500, 4)
    probabilities = answers.probabilities[0]
    wanted = multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(answers.targets), 4, n_bins=BINS
    )
    found = measure_classes(probabilities, answers.targets)
    assert found.ece == pytest.approx(float(wanted), abs=1e-6)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for seed in range(100):
        found = Interval.of(generator.random(60) < 0.8, seed)
        assert found.low <= found.mean <= found.high
        held += found.low <= 0.8 <= found.high
    assert 85 <= held <= 100


def test_numbers_are_measured_in_their_units() -> None:
    mean, targets = np.array([[1.0], [2.0], [4.0]]), np.array([[1.0], [3.0], [2.0]])
    found = measure_numbers(mean, np.full_like(mean, 0.5), targets)
    assert found.interval.mean == pytest.approx(5 / 3)
    assert found.mae == pytest.approx(1.0)
    assert found.r2 == pytest.approx(1 - 5 / 2)
