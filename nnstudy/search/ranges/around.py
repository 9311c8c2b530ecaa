"""The surroundings of the best so far: within a factor of it on either side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from nnstudy.search.distributions import is_number
from nnstudy.search.ranges.given import Range, Ranges
from nnstudy.search.ranges.scale import Scale


def around(ranges: Ranges, best: Mapping[str, Any], factor: float) -> Ranges:
    """Returns ranges within a factor of the best so far, and of what was asked for.

    After trials a factor of ten apart, whose best has worse neighbours, the optimum of a function
    with one valley lies between those neighbours. Numbers on a linear scale, choices, and what
    the best so far has at zero or not at all, keep their ranges.

    Args:
        ranges: As they are asked for.
        best: The best point so far, or empty.
        factor: Above 1.
    """
    return Ranges([_around(entry, best.get(entry.name), factor) for entry in ranges.ranges])


def _around(entry: Range, value: Any, factor: float) -> Range:
    asked = entry.asked
    if not isinstance(asked, FloatDistribution | IntDistribution) or not asked.log:
        return entry
    if not is_number(value) or value <= 0 or asked.single():
        return entry
    # The best itself may have been held outside of what was asked for.
    low = max(min(asked.low, value), value / factor)
    high = min(max(asked.high, value), value * factor)
    scale = Scale(asked)
    given = scale.between(scale.position(low), scale.position(high))
    return replace(
        entry,
        given=given,
        evidence=f"within a factor of {factor:g} of the best so far, {value:.3g}",
    )
