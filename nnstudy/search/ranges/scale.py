"""Numbers in the scale they are searched in, from 0 at the low end of a range to 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optuna.distributions import FloatDistribution, IntDistribution

Number = FloatDistribution | IntDistribution

_SMALLEST = math.ulp(0.0)


@dataclass(frozen=True)
class Scale:
    """The scale of a range: linear or logarithmic.

    Attributes:
        distribution: The range; it must have room (``low`` below ``high``).
    """

    distribution: Number

    def position(self, value: float) -> float:
        """Returns where a value lies: 0 at the low end, 1 at the high end, also beyond them."""
        low, high = (
            self._transformed(self.distribution.low),
            self._transformed(self.distribution.high),
        )
        return (self._transformed(value) - low) / (high - low)

    def value(self, position: float) -> float:
        """Returns the number at a position, which may lie beyond the ends; not rounded."""
        low, high = float(self.distribution.low), float(self.distribution.high)
        if self.distribution.log:
            # Not by way of high / low, which may be infinite.
            start = math.log(low)
            return math.exp(start + position * (math.log(high) - start))
        return float(low + (high - low) * position)

    def stepped(self, position: float, steps: int = 0) -> float:
        """Returns the position of the nearest step, or of the one that many steps further up.

        Where there are no steps this is the position itself.
        """
        asked = self.distribution
        if asked.step is None:
            return position
        count = round((self.value(position) - asked.low) / asked.step) + steps
        value = asked.low + count * asked.step
        return self.position(max(value, 1) if asked.log else value)

    def between(
        self, low: float, high: float, limits: Sequence[float | None] = (None, None)
    ) -> Number:
        """Returns the range of the same kind between two positions.

        Its ends are rounded outwards, so that nothing between the two is lost: whole numbers and
        steps to the next ones, others to a hundredth of their size and of the range's width.

        Args:
            low: Position of the new low end.
            high: Position of the new high end, at least ``low``.
            limits: The least and the largest value that may be, or None for either.
        """
        asked = self.distribution
        least, most = limits
        bottom, top = self.value(low), self.value(high)
        unit = (
            asked.step or _unit(min(abs(bottom), top - bottom)),
            asked.step or _unit(top - bottom),
        )
        bottom = _rounded(bottom, unit[0], asked, math.floor)
        top = _rounded(top, unit[1], asked, math.ceil)
        # Rounding is no reason to leave the range.
        least = max(_known(least, bottom), asked.low if low >= 0 else -math.inf)
        most = min(_known(most, top), asked.high if high <= 1 else math.inf)
        bottom, top = max(bottom, least), min(top, most)
        if isinstance(asked, IntDistribution):
            first = max(1, round(bottom)) if asked.log else round(bottom)
            return IntDistribution(first, max(first, round(top)), asked.log, asked.step)
        return FloatDistribution(bottom, max(bottom, top), asked.log, asked.step)

    def _transformed(self, value: float) -> float:
        return math.log(value) if self.distribution.log else float(value)


def _rounded(value: float, unit: float, asked: Number, whole: Callable[[float], int]) -> float:
    """Rounds to a whole number of units from the low end, or from zero where there are no steps."""
    origin = asked.low if asked.step else 0.0
    count = (value - origin) / unit
    nearest = round(count)
    if not math.isclose(count, nearest, abs_tol=1e-9):
        nearest = whole(count)
    # Twelve digits: 0.1 + 2 * 0.1 is to be 0.3.
    return float(f"{origin + nearest * unit:.12g}")


def _unit(size: float) -> float:
    """Returns a power of ten of about a hundredth of a size."""
    if size <= 0:
        return 1e-12
    return max(float(10.0 ** (math.floor(math.log10(size)) - 2)), _SMALLEST)


def _known(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
