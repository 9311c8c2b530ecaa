"""How unsure an ensemble is of each answer, and how much of that is its members' disagreement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import entr

from nnstudy.ensembles.answers import Answers, Array
from nnstudy.ensembles.calibration import spread
from nnstudy.ensembles.procedure import Fitted


@dataclass(frozen=True)
class Uncertainty:
    """How unsure an ensemble is of N answers.

    Attributes:
        total: ``(N,)``. Of classes the entropy of what is predicted, in nats; of numbers the
            predicted variance, the mean over an example's numbers.
        disagreement: ``(N,)``. What comes of members that differ, in the same unit: of classes
            the mutual information of answer and member, of numbers the variance between members.
    """

    total: Array
    disagreement: Array


def uncertainty(answers: Answers, fitted: Fitted) -> Uncertainty:
    """Returns how unsure an ensemble is of each example.

    The mutual information is the entropy of the members' mean probabilities less the mean of
    their entropies (Gal 2016, "Uncertainty in deep learning", section 3.3.1; Depeweg et al. 2018,
    "Decomposition of uncertainty in Bayesian deep learning for efficient and risk-sensitive
    learning", also for the variance). It is that of the members as they are, however they are
    combined and whatever the temperature: at most the total only where the answer is the mean
    of their probabilities, not calibrated.

    Args:
        answers: Of the candidates that the ensemble was fitted to.
        fitted: The ensemble.
    """
    members = np.flatnonzero(fitted.weights)
    weights, answers = fitted.weights[members], answers.of(members)
    prediction = fitted.of(members).predict(answers)
    if prediction.variance is not None:
        _, between = spread(answers.scores, weights)
        return Uncertainty(prediction.variance.mean(1), between.mean(1))
    assert answers.probabilities is not None, "what has no variance is an answer of classes"
    shares = weights / weights.sum()
    mean = np.tensordot(shares, answers.probabilities, axes=1)
    expected = np.tensordot(shares, _entropy(answers.probabilities), axes=1)
    # Where members agree, rounding may leave a little less than nothing.
    return Uncertainty(_entropy(prediction.mean), np.maximum(_entropy(mean) - expected, 0.0))


def errors_of_the_surest(errors: Array, total: Array) -> Array:
    """Returns what the error is among the n answers that an ensemble is surest of, for each n.

    (Nadeem, Zucker and Hanczar 2009, "Accuracy-rejection curves for comparing classification
    methods with a reject option".)

    Args:
        errors: Of each example, ``(N,)``.
        total: How unsure each answer is, likewise; equally unsure ones keep their order.

    Returns:
        Means over the first 1, 2, ..., N of them.
    """
    surest_first = np.argsort(total, kind="stable")
    return np.asarray(errors[surest_first].cumsum() / np.arange(1, len(errors) + 1))


def _entropy(probabilities: Array) -> Array:
    """Returns the entropy of each distribution, ``(..., C)`` to ``(...)``, in nats."""
    return np.asarray(entr(probabilities).sum(-1))
