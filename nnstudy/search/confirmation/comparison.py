"""Which of several configurations is best, from scores that share their seeds.

The best of k means is partly lucky, so a t-test of the first against the second, as if they had
been named beforehand, is wrong more often than it says. Twice its one-sided error is enough
though, whatever k is: the first is called best where it beats *each* other one in a paired,
two-sided test. For means of normal scores of equal variance that is due to S. Gutmann and
Z. Maymin, "Is the selected population the best?" (Annals of Statistics 15, 1987); K. Hung and
W. Fithian, "Rank verification for exponential families" (Annals of Statistics 47, 2019), extend
it. The worst case are two configurations alone; with more that are equal, calls are rarer still.

Where none is called best, those that may be are told: all that the first does not beat with the
error divided among the k - 1 comparisons (Bonferroni). The best one is left out in at most that
share of cases (S. S. Gupta, "On some multiple decision rules", Technometrics 7, 1965).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

PROMISED = 0.05
"""Share of comparisons of equal configurations in which a best one may be called."""

LEVEL = 0.035
"""Two-sided level of the tests.

It is below what is promised since scores are not normal: at 0.05 a best one of two equal
configurations was called in up to 5.8 % of 20,000 simulations with accuracies of 30 examples, and
in 5.6 % with uniform noise. `benchmarks/confirm.py` measures what it comes to.
"""

POWER = 0.8
MOST_SEEDS = 1000

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Summary:
    """The scores of one configuration.

    Attributes:
        index: Which configuration, as they were given.
        seeds: Trainings that have a score.
        failures: Trainings that have none.
        mean: Of the scores, or None.
        deviation: Their standard deviation; None for fewer than two.
        interval: Of 95 % for the mean, by Student's t; None for fewer than two.
    """

    index: int
    seeds: int
    failures: int
    mean: float | None
    deviation: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Difference:
    """By how much the first configuration is better than another.

    Attributes:
        index: Which other one.
        mean: Of the differences between scores that share a seed, above 0 where the first is
            better.
        interval: Of 1 - ``LEVEL`` for it.
        beaten: Whether the first is better, judged by this pair alone.
        seeds_needed: With how many seeds that would be seen with a probability of ``POWER``,
            were the difference and its spread as measured; None where more than ``MOST_SEEDS``.
    """

    index: int
    mean: float
    interval: tuple[float, float]
    beaten: bool
    seeds_needed: int | None


@dataclass(frozen=True)
class Comparison:
    """What scores tell of several configurations.

    Attributes:
        ranked: The configurations, best mean first; those with a failure last, which cannot
            be best.
        differences: Of the first against each other one without a failure, in this order.
        is_decided: Whether the first is better than each of these.
        candidates: Which may be the best, in this order: the first alone where that is decided.
        noise: Standard deviation between seeds, pooled over configurations, or None.
    """

    ranked: tuple[Summary, ...]
    differences: tuple[Difference, ...]
    is_decided: bool
    candidates: tuple[int, ...]
    noise: float | None

    @property
    def first(self) -> Summary | None:
        """The configuration with the best mean of those without a failure."""
        return next((summary for summary in self.ranked if not summary.failures), None)


def compare(scores: Sequence[Sequence[float]], *, maximize: bool) -> Comparison:
    """Compares configurations by scores that share their seeds.

    Args:
        scores: Of each configuration for each seed, as many for each; NaN for a training that
            has none.
        maximize: Whether a larger score is better.
    """
    table = np.asarray(scores, dtype=float).reshape(len(scores), -1)
    summaries = [_summarise(index, row) for index, row in enumerate(table)]
    sign = 1.0 if maximize else -1.0
    ranked = sorted(summaries, key=lambda one: (one.failures > 0, -sign * _or_worst(one, sign)))
    whole = [summary.index for summary in ranked if not summary.failures]
    gains = sign * (table[whole[:1]] - table[whole[1:]])
    tests = [_PairedTest(row) for row in gains]
    decided = bool(tests) and all(test.is_above(LEVEL / 2) for test in tests)
    share = min(LEVEL / 2, LEVEL / max(1, len(tests)))
    return Comparison(
        ranked=tuple(ranked),
        differences=tuple(
            Difference(
                index, test.mean, test.interval(), test.is_above(LEVEL / 2), test.seeds_needed()
            )
            for index, test in zip(whole[1:], tests, strict=True)
        ),
        is_decided=decided,
        candidates=tuple(
            index
            for index, test in zip(whole, [None, *tests], strict=bool(whole))
            if test is None or not (decided or test.is_above(share))
        ),
        noise=_pooled(table),
    )


def is_best(scores: NDArray[np.float64], level: float = LEVEL) -> NDArray[np.bool_]:
    """Tells whether the configuration with the largest mean is called the best, as in ``compare``.

    Args:
        scores: Shape (..., configurations, seeds), larger is better; all finite.
        level: Two-sided level of each test.

    Returns:
        Shape (...).
    """
    seeds = scores.shape[-1]
    first = scores.mean(-1).argmax(-1)[..., None]
    gains = np.take_along_axis(scores, first[..., None], -2) - scores
    beaten = _are_above(gains, level / 2, seeds)
    np.put_along_axis(beaten, first, True, -1)
    return np.asarray(beaten.all(-1))


class _PairedTest:
    """Student's t-test of differences between scores that share a seed."""

    def __init__(self, gains: NDArray[np.float64]) -> None:
        self.mean = float(gains.mean())
        self._gains = gains
        self._seeds = len(gains)
        self._deviation = float(gains.std(ddof=1)) if self._seeds > 1 else math.inf

    def is_above(self, level: float) -> bool:
        return bool(_are_above(self._gains, level, self._seeds))

    def interval(self) -> tuple[float, float]:
        half = _half_width(self._deviation, self._seeds, LEVEL / 2)
        return self.mean - half, self.mean + half

    def seeds_needed(self) -> int | None:
        if not self.mean > 0 or not 0 < self._deviation < math.inf:
            return None
        # More seeds never see less.
        found = bisect.bisect_left(range(2, MOST_SEEDS + 1), POWER, key=self._power)
        return found + 2 if found < MOST_SEEDS - 1 else None

    def _power(self, seeds: int) -> float:
        shift = self.mean / self._deviation * math.sqrt(seeds)
        critical = special.stdtrit(seeds - 1, 1 - LEVEL / 2)
        missed = float(special.nctdtr(seeds - 1, shift, critical))
        return 1.0 if math.isnan(missed) else 1.0 - missed  # of a huge shift it has no number


def _are_above(gains: NDArray[np.float64], level: float, seeds: int) -> NDArray[np.bool_]:
    """Tells, along the last axis, whether differences are above 0 on the average."""
    if seeds < 2:
        return np.zeros(gains.shape[:-1], dtype=bool)
    mean, deviation = gains.mean(-1), gains.std(-1, ddof=1)
    # Differences that are all the same, as few examples give them, tell no spread.
    is_spread = deviation > _ROUNDING * np.abs(gains).max(-1)
    return np.asarray(is_spread & (mean > _half_width(deviation, seeds, level)))


def _half_width(deviation: float, seeds: int, level: float) -> float:
    if seeds < 2:
        return math.inf
    return deviation * float(special.stdtrit(seeds - 1, 1 - level)) / math.sqrt(seeds)


def _summarise(index: int, row: NDArray[np.float64]) -> Summary:
    finite = row[np.isfinite(row)]
    seeds = len(finite)
    mean = float(finite.mean()) if seeds else None
    deviation = float(finite.std(ddof=1)) if seeds > 1 else None
    interval = None
    if mean is not None and deviation is not None:
        half = _half_width(deviation, seeds, 0.025)
        interval = mean - half, mean + half
    return Summary(index, seeds, len(row) - seeds, mean, deviation, interval)


def _or_worst(summary: Summary, sign: float) -> float:
    return -sign * math.inf if summary.mean is None else summary.mean


def _pooled(table: NDArray[np.float64]) -> float | None:
    rows = [row[np.isfinite(row)] for row in table]
    freedom = sum(max(0, len(row) - 1) for row in rows)
    if not freedom:
        return None
    return math.sqrt(
        sum(float(((row - row.mean()) ** 2).sum()) for row in rows if len(row)) / freedom
    )
