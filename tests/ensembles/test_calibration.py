from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from nnstudy.ensembles.calibration import (
    fit_noise,
    fit_temperature,
    gaussian_losses,
    spread,
    tempered,
)
from nnstudy.ensembles.combination import loss
from tests.ensembles.answering import classifiers, regressors


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_answers_too_sure_is_found(temperature: float) -> None:
    generator = np.random.default_rng(0)
    honest = softmax(generator.normal(size=(20_000, 4)) * 2, axis=-1)
    targets = (honest.cumsum(1) > generator.random((len(honest), 1))).argmax(1)
    too_sure = tempered(honest, 1 / temperature)
    assert fit_temperature(too_sure, targets) == pytest.approx(temperature, rel=0.06)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 1000), st.floats(-1, 8))
def test_a_fitted_temperature_never_makes_the_likelihood_worse_nor_changes_an_answer(
    examples: int, seed: int, skill: float
) -> None:
    answers = classifiers(1, examples, seed=seed, skill=skill)
    before = answers.probabilities[0]
    after = tempered(before, fit_temperature(before, answers.targets))
    assert loss(after, answers.targets) <= loss(before, answers.targets) + 1e-12
    np.testing.assert_array_equal(after.argmax(1), before.argmax(1))
    np.testing.assert_allclose(after.sum(1), 1)


def test_the_noise_that_members_do_not_see_is_found() -> None:
    generator = np.random.default_rng(1)
    mean = generator.normal(size=(4000, 1))
    targets = mean + generator.normal(size=mean.shape) * 0.3
    assert fit_noise(mean, np.zeros_like(mean), targets) == pytest.approx(0.09, rel=0.1)
    assert fit_noise(mean, np.full_like(mean, 0.05), targets) == pytest.approx(0.04, rel=0.2)


def test_members_without_any_error_still_get_a_variance() -> None:
    mean = np.zeros((5, 1))
    assert 0 < fit_noise(mean, mean, mean) < 1e-9


def test_the_variance_between_members_is_weighted() -> None:
    answers = regressors(3, 10)
    mean, variance = spread(answers.scores, np.array([1.0, 0.0, 3.0]))
    chosen = answers.scores[[0, 2, 2, 2]]
    np.testing.assert_allclose(mean, chosen.mean(0))
    np.testing.assert_allclose(variance, chosen.var(0))


def test_gaussian_losses_are_those_of_the_normal_distribution() -> None:
    from scipy.stats import norm

    mean, variance = np.array([[0.0, 1.0]]), np.array([[1.0, 4.0]])
    targets = np.array([[0.5, -1.0]])
    wanted = -norm.logpdf(targets, mean, np.sqrt(variance)).mean(1)
    np.testing.assert_allclose(gaussian_losses(mean, variance, targets), wanted)
