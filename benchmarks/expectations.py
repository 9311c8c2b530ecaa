"""What trainings are expected to show, and whether they did: agree, disagree or cannot tell.

An expectation is a range for the mean of a number that every seed gives, such as the difference of
two networks that were trained with the same seed. The mean over a few seeds is known to lie in an
interval; where that is neither within the range nor outside of it, nothing can be told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.9
"""Of the interval, so that each of its ends is wrong in 5 % of the cases."""

Seeds = Sequence[Mapping[str, float]]
"""Measures of trainings that differ in their seed alone."""

Arms = Mapping[str, Seeds]
"""The same seeds for each arm of a comparison."""


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns Student's interval for the mean of values that are normally distributed.

    Raises:
        ValueError: There are fewer than two, or one is no number.
    """
    if len(values) < 2:
        raise ValueError("one value tells nothing of the spread")
    if not all(map(math.isfinite, values)):
        raise ValueError(f"not all are numbers: {values}")
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    quantile = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1))
    half = quantile * spread / len(values) ** 0.5
    return mean - half, mean + half


def verdict(values: Sequence[float], low: float = -math.inf, high: float = math.inf) -> str:
    """Tells whether the mean of the values lies between two bounds, which do not belong to it.

    Args:
        values: One of each seed.
        low: Lower bound.
        high: Upper bound.

    Returns:
        ``"agree"`` where the mean's whole interval lies between the bounds, ``"disagree"`` where
        nothing of it does, else ``"cannot tell"``.

    Raises:
        ValueError: The values have no interval.
    """
    least, greatest = interval(values)
    if low < least and greatest < high:
        return "agree"
    if greatest <= low or least >= high:
        return "disagree"
    return "cannot tell"


@dataclass(frozen=True)
class Expectation:
    """What a source reports, as a range for a number.

    Attributes:
        comparison: The trainings that show it.
        what: What is measured.
        values: Takes the arms of the comparison, returns a number for each seed.
        said: What is expected, in the source's own words or shortly.
        source: Where that stands.
        low: The mean is expected to be above.
        high: The mean is expected to be below.
        unit: ``points`` (hundredths of the accuracy), ``share`` or ``factor``, of which the
            values are logarithms.
    """

    comparison: str
    what: str
    values: Callable[[Arms], list[float]]
    said: str
    source: str
    low: float = -math.inf
    high: float = math.inf
    unit: str = "points"

    def judged(self, arms: Arms) -> dict[str, Any]:
        """Returns the verdict with its figures, ready for JSON."""
        values = self.values(arms)
        return {
            "comparison": self.comparison,
            "what": self.what,
            "said": self.said,
            "source": self.source,
            "low": self.low if math.isfinite(self.low) else None,
            "high": self.high if math.isfinite(self.high) else None,
            "unit": self.unit,
            "values": values,
            "mean": float(np.mean(values)),
            "interval_90": list(interval(values)),
            "verdict": verdict(values, self.low, self.high),
        }


def of(arm: str, measure: str = "accuracy") -> Callable[[Arms], list[float]]:
    """A measure of one arm."""
    return lambda arms: [seed[measure] for seed in arms[arm]]


def gain(
    better: Sequence[str], than: Sequence[str], measure: str = "accuracy"
) -> Callable[[Arms], list[float]]:
    """By how much the mean of some arms is above that of others."""
    return lambda arms: [
        float(np.mean([arms[arm][seed][measure] for arm in better]))
        - float(np.mean([arms[arm][seed][measure] for arm in than]))
        for seed in range(len(arms[better[0]]))
    ]


def lead(few: Sequence[str], measure: str = "accuracy") -> Callable[[Arms], list[float]]:
    """By how much the best of a few arms, by its mean, is above the best of all others."""

    def values(arms: Arms) -> list[float]:
        def best(names: Sequence[str]) -> str:
            return max(names, key=lambda arm: float(np.mean(of(arm, measure)(arms))))

        return gain([best(few)], [best([arm for arm in arms if arm not in few])], measure)(arms)

    return values


def slope(sizes: Mapping[str, float], measure: str = "accuracy") -> Callable[[Arms], list[float]]:
    """By how much a measure rises when the size doubles (line of least squares over arms)."""
    doublings = np.log2(list(sizes.values()))
    return lambda arms: [
        float(np.polyfit(doublings, [arms[arm][seed][measure] for arm in sizes], 1)[0])
        for seed in range(len(arms[next(iter(sizes))]))
    ]
