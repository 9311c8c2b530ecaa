"""Best so far of several searches, and their mean with a confidence band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

LEVEL = 0.95


@dataclass(frozen=True)
class Band:
    """A mean curve with its confidence band.

    Attributes:
        x: Trials, or seconds.
        mean: Mean of the searches' best so far.
        low: Lower end of the interval, at each x.
        high: Upper end.
    """

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def best_so_far(values: Sequence[float | None], *, maximize: bool) -> list[float]:
    """Returns the best value after each trial; NaN before the first trial that has one.

    Args:
        values: What each trial reached, in their order; None where it was not completed.
        maximize: Whether large is good.
    """
    column = np.array([math.nan if value is None else value for value in values], float)
    best = np.fmax.accumulate(column) if maximize else np.fmin.accumulate(column)
    return [float(value) for value in best]


def mean_interval(values: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    """Returns mean and 95 % interval over the first axis, by Student's t.

    Of five seeds, a bootstrap's percentiles are two thirds as far apart: resampling five values
    shrinks their spread, and knows nothing of its own uncertainty.

    Args:
        values: Shape (searches, ...), two searches at least.
    """
    array = np.asarray(values, float)
    number = len(array)
    mean = array.mean(axis=0)
    error = array.std(axis=0, ddof=1) / math.sqrt(number)
    half = float(student.ppf((1 + LEVEL) / 2, number - 1)) * error
    return mean, mean - half, mean + half


def band_by_trials(curves: Sequence[Sequence[float]], trials: int) -> Band:
    """Returns the band against the number of trials, from where every search has a best.

    Args:
        curves: Best so far of each search; of a shorter one, as of an exhausted grid, the last
            value holds.
        trials: Length of the result.
    """
    padded = np.array([[*curve, *[curve[-1]] * (trials - len(curve))] for curve in curves])
    return _band(np.arange(1, trials + 1, dtype=float), padded)


def band_by_seconds(curves: Sequence[Sequence[float]], seconds: Sequence[Sequence[float]]) -> Band:
    """Returns the band against time, as long as every search was searching.

    Args:
        curves: Best so far of each search.
        seconds: When each of these trials had ended, ascending.
    """
    end = min(times[-1] for times in seconds)
    x = np.unique(np.concatenate([np.asarray(times, float) for times in seconds]))
    x = x[(x >= max(times[0] for times in seconds)) & (x <= end)]
    rows = [
        np.asarray(curve, float)[np.searchsorted(times, x, side="right") - 1]
        for curve, times in zip(curves, seconds, strict=True)
    ]
    return _band(x, np.array(rows))


def _band(x: NDArray[np.float64], rows: NDArray[np.float64]) -> Band:
    known = np.isfinite(rows).all(axis=0)
    mean, low, high = mean_interval(rows[:, known])
    return Band(x[known].tolist(), mean.tolist(), low.tolist(), high.tolist())
