"""A range that goes on beyond one of its ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from nnstudy.search.distributions import ends_of
from nnstudy.search.ranges.scale import Number, Scale
from nnstudy.study.limits import NO_LIMIT, Limit

Edge = Literal["low", "high"]


def wider(
    asked: BaseDistribution, edge: Edge, limit: Limit = NO_LIMIT
) -> Number | CategoricalDistribution | None:
    """Returns a range with more room at one end.

    It is longer by half in the scale it is searched in, a real logarithmic one by whole decades,
    which together are at most as long as the range. Choices that are numbers get another one, at
    the distance of the last two, by differences or by factors, whichever are more even.

    Where the limit leaves an end open, what is usual holds: whole numbers end at 1, at 0 or with
    their sign, real ones on a linear scale at 0, and one that lies within 0 and 1 is taken for a
    share, which comes at most half-way nearer to 1.

    Args:
        asked: A range, or at least two choices that all are numbers.
        edge: The end to go beyond.
        limit: The least and the largest value that may be, or None for either.

    Returns:
        None where the end cannot be gone beyond.
    """
    ends = ends_of(asked)
    assert ends is not None, asked
    least, most = limit
    bounds = (
        _usual_least(asked, ends) if least is None else least,
        _usual_most(asked, ends) if most is None else most,
    )
    if isinstance(asked, CategoricalDistribution):
        return _with_next(asked, edge, bounds)
    assert isinstance(asked, FloatDistribution | IntDistribution)
    low, high = (-_more(asked), 1.0) if edge == "low" else (0.0, 1.0 + _more(asked))
    longer = Scale(asked).between(low, high, _on_grid(bounds, asked))
    # The other end stays exactly as it is, without the rounding of a new one.
    low, high = (longer.low, asked.high) if edge == "low" else (asked.low, longer.high)
    if (low, high) == ends:
        return None
    if isinstance(asked, IntDistribution):
        return IntDistribution(round(low), round(high), asked.log, asked.step)
    return FloatDistribution(low, high, asked.log, asked.step)


def _on_grid(bounds: Limit, asked: Number) -> Limit:
    """Returns bounds that are whole steps away from a range with steps."""
    if asked.step is None:
        return bounds
    least, most = bounds
    if least is not None:
        least = asked.low - asked.step * math.floor(round((asked.low - least) / asked.step, 9))
    if most is not None:
        most = asked.high + asked.step * math.floor(round((most - asked.high) / asked.step, 9))
    return least, most


def _more(asked: Number) -> float:
    """Returns by how much of its length a range is made longer."""
    if not isinstance(asked, FloatDistribution) or not asked.log:
        return 0.5
    decades = math.log10(asked.high / asked.low)
    # Rounded: three decades are not to become four since the logarithm is 3.0000000000000004.
    return min(1.0, math.ceil(round(decades / 2, 9)) / decades)


def _usual_least(asked: BaseDistribution, ends: tuple[float, float]) -> float | None:
    if getattr(asked, "log", False):
        return 1.0 if isinstance(asked, IntDistribution) else None
    if all(isinstance(end, int) for end in ends) and ends[0] >= 1:
        return 1.0
    return 0.0 if ends[0] >= 0 else None


def _usual_most(asked: BaseDistribution, ends: tuple[float, float]) -> float | None:
    is_whole = all(isinstance(end, int) for end in ends)
    if is_whole or getattr(asked, "log", False) or ends[0] < 0 or ends[1] > 1:
        return None
    return float(f"{(ends[1] + 1) / 2:.12g}")


def _with_next(
    asked: CategoricalDistribution, edge: Edge, bounds: Limit
) -> CategoricalDistribution | None:
    """Returns choices with the next one, or None where it would lie beyond the bounds."""
    ordered = sorted(map(_number, asked.choices), reverse=edge == "low")
    last, before = ordered[-1], ordered[-2]
    following = last * (last / before) if _is_geometric(ordered) else last + (last - before)
    least, most = bounds
    following = following if least is None else max(following, least)
    following = float(f"{following if most is None else min(following, most):.12g}")
    if all(isinstance(choice, int) for choice in ordered):
        following = math.floor(following) if edge == "high" else math.ceil(following)
    if following in asked.choices:
        return None
    return CategoricalDistribution((*asked.choices, following))


def _number(choice: object) -> float:
    assert isinstance(choice, int | float)
    return choice


def _is_geometric(ordered: Sequence[float]) -> bool:
    """Tells whether numbers go on by factors, but for a zero, rather than by differences."""
    positive = [number for number in ordered if number > 0]
    if ordered[-1] <= 0 or len(positive) < 2:
        return False
    return _unevenness(np.diff(np.log(positive))) < _unevenness(np.diff(ordered))


def _unevenness(steps: np.ndarray) -> float:
    return float(np.std(steps) / abs(np.mean(steps)))
