"""How sure an answer is: a temperature for classes, a variance for numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from nnstudy.ensembles.answers import Array
from nnstudy.ensembles.combination import LEAST, loss

_HOTTEST = 20.0
_SMALLEST_VARIANCE = 1e-12
_VARIANCES = 1e4  # how far the noise may lie below the mean squared error, as a factor


def tempered(probabilities: Array, temperature: float) -> Array:
    """Returns probabilities to the power 1/T, which add up to 1 again.

    That is a softmax of scores that were divided by T (Guo et al. 2017, "On calibration of
    modern neural networks", section 4.2).

    Args:
        probabilities: ``(N, C)``.
        temperature: T; above 1 makes answers less sure.
    """
    logarithms = np.log(np.maximum(probabilities, LEAST))
    return np.asarray(np.exp(log_softmax(logarithms / temperature, axis=-1)))


def fit_temperature(probabilities: Array, targets: NDArray[Any]) -> float:
    """Returns the temperature with the least negative log-likelihood, 1/20 to 20.

    Fitted to the *combined* answers: a mean of calibrated members is not sure enough (Rahaman
    and Thiery 2021, "Uncertainty quantification and deep ensembles").

    Args:
        probabilities: ``(N, C)``.
        targets: ``(N,)`` class indices.
    """

    def value(log_temperature: float) -> float:
        return float(loss(tempered(probabilities, math.exp(log_temperature)), targets))

    limit = math.log(_HOTTEST)
    found = minimize_scalar(value, bounds=(-limit, limit), method="bounded")
    return math.exp(found.x) if found.fun < value(0.0) else 1.0


def fit_noise(mean: Array, variance: Array, targets: NDArray[Any]) -> float:
    """Returns the variance of what no member can know, with the least negative log-likelihood.

    Members that agree may be wrong together, so their variance alone is too small (Lakshminarayanan
    et al. 2017, "Simple and scalable predictive uncertainty estimation using deep ensembles",
    section 2.4, let each member predict this noise).

    Args:
        mean: Of the members, ``(N, K)``.
        variance: Between the members, likewise.
        targets: The truth, likewise.
    """
    error = max(float(loss(mean, targets)), _SMALLEST_VARIANCE)

    def value(log_noise: float) -> float:
        return float(gaussian_losses(mean, variance + math.exp(log_noise), targets).mean())

    bounds = (math.log(error / _VARIANCES), math.log(error * 2))
    return math.exp(minimize_scalar(value, bounds=bounds, method="bounded").x)


def gaussian_losses(mean: Array, variance: Array, targets: NDArray[Any]) -> Array:
    """Returns the negative log-likelihood of numbers under normal distributions, ``(N,)``.

    Args:
        mean: ``(N, K)``.
        variance: Likewise.
        targets: Likewise; what is returned is the mean over the K numbers of an example.
    """
    each = np.log(2 * np.pi * variance) + np.square(targets - mean) / variance
    return np.asarray(each.mean(1) / 2)


def spread(scores: Array, weights: Array) -> tuple[Array, Array]:
    """Returns mean and variance of numbers between members.

    Args:
        scores: ``(M, N, K)``.
        weights: ``(M,)``, how much each counts.

    Returns:
        Two of ``(N, K)``.
    """
    shares = weights / weights.sum()
    mean = np.tensordot(shares, scores, axes=1)
    return mean, np.tensordot(shares, np.square(scores - mean), axes=1)
