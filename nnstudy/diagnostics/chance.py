"""Whether answers are better than those that know nothing of the inputs, with an interval."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE = 0.95
_RESAMPLES = 4999
_LEAST = np.finfo(float).tiny

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """Answers to some examples beside the best answer that ignores their inputs.

    Attributes:
        measure: ``accuracy``, or ``squared errors``: their sum divided by that of always
            answering the mean.
        value: What the answers reached.
        low: Lower end of the interval.
        high: Upper end of the interval.
        chance: What the best constant answer reaches: the share of the commonest class, or 1.
        examples: Number of examples.
        correct: Number of right answers; None for numbers.
        better: Whether the whole interval is on the better side of chance.
        could_be: Whether it would be, were all answers right: if not, there are too few
            examples to tell.
    """

    measure: Literal["accuracy", "squared errors"]
    value: float
    low: float
    high: float
    chance: float
    examples: int
    correct: int | None
    better: bool
    could_be: bool


def compare_accuracy(correct: int, labels: ArrayLike, *, looks: int = 1) -> Comparison:
    """Compares a number of right answers with always answering the commonest class.

    The interval is that of Clopper and Pearson 1934 ("The use of confidence or fiducial limits
    illustrated in the case of the binomial", Biometrika 26). Its lower end lies above the true
    accuracy with a probability of 2.5 % at most, however few the examples and whatever the
    accuracy. Wilson's does not keep to that where the accuracy is small: with ten classes and 22
    examples, guesses would be called better than chance 6 times in a hundred.

    Args:
        correct: Right answers.
        labels: The true class of each example, whole numbers from 0.
        looks: Of how many such numbers this is the largest; Bonferroni's correction widens the
            interval accordingly.

    Raises:
        ValueError: If there are no examples, or fewer than right answers.
    """
    counts = np.bincount(np.asarray(labels))
    examples = int(counts.sum())
    if not 0 <= correct <= examples or examples == 0 or looks < 1:
        raise ValueError(f"{correct} of {examples} answers cannot be right, or {looks} looks")
    chance = float(counts.max() / examples)
    low, high = _exact_interval(correct, examples, looks)
    return Comparison(
        measure="accuracy",
        value=correct / examples,
        low=low,
        high=high,
        chance=chance,
        examples=examples,
        correct=correct,
        better=low > chance,
        could_be=_exact_interval(examples, examples, looks)[0] > chance,
    )


def compare_errors(errors: ArrayLike, errors_of_mean: ArrayLike, *, seed: int = 0) -> Comparison:
    """Compares squared errors with those of always answering the mean.

    The interval of the ratio of the two sums comes from drawing examples with replacement (Efron
    and Tibshirani 1993, "An Introduction to the Bootstrap", chapters 13 and 14: bias-corrected
    and accelerated).

    Args:
        errors: Squared error of each example.
        errors_of_mean: Squared error of each where the mean of the training targets is
            answered.
        seed: Where the draws come from.

    Raises:
        ValueError: If they differ in number, there are fewer than two, or those of the mean are 0.
    """
    own, of_mean = np.asarray(errors, dtype=float), np.asarray(errors_of_mean, dtype=float)
    if own.shape != of_mean.shape or own.ndim != 1 or len(own) < 2 or not of_mean.sum() > 0:
        raise ValueError("two errors or more are needed, as many of the mean, and not all 0")
    low, high = _bootstrap(own, of_mean, seed)
    return Comparison(
        measure="squared errors",
        value=float(own.sum() / of_mean.sum()),
        low=low,
        high=high,
        chance=1.0,
        examples=len(own),
        correct=None,
        better=high < 1.0,
        could_be=True,
    )


def _exact_interval(correct: int, examples: int, looks: int) -> tuple[float, float]:
    level = 1 - (1 - CONFIDENCE) / looks
    interval = stats.binomtest(correct, examples).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


def _bootstrap(own: Floats, of_mean: Floats, seed: int) -> tuple[float, float]:
    def ratio(a: Floats, b: Floats, axis: int = -1) -> Floats:
        # A draw in which the mean is always right says nothing for the answers.
        ratios: Floats = a.sum(axis=axis) / np.maximum(b.sum(axis=axis), _LEAST)
        return ratios

    def interval(method: str) -> tuple[float, float]:
        found = stats.bootstrap(
            (own, of_mean),
            ratio,
            paired=True,
            n_resamples=_RESAMPLES,
            confidence_level=CONFIDENCE,
            method=method,
            rng=np.random.default_rng(seed),
        ).confidence_interval
        return float(found.low), float(found.high)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # told by what is not a number
        low, high = interval("BCa")
    # All ratios are alike where the answers are the mean itself.
    return (low, high) if low <= high else interval("percentile")
