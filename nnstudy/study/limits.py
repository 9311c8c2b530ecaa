"""Absolute limits of parameters: what a range may never go beyond."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nnstudy.errors import UserError

Limit = tuple[float | None, float | None]
"""The least and the largest value that may be, or None for either."""

NO_LIMIT: Limit = (None, None)


def checked_limits(limits: Mapping[str, Any], where: str) -> dict[str, Limit]:
    """Returns limits as pairs.

    Args:
        limits: As the user gave them, by parameter.
        where: What they belong to, for the message.

    Raises:
        UserError: One is no pair of numbers or None, or its first is not below its second.
    """
    if not isinstance(limits, Mapping):
        raise UserError(
            f"{where}: limits must map parameters to pairs, as in {{'dropout': (0, 0.95)}},"
            f" got {limits!r}"
        )
    return {name: _checked(limit, f"{where}: limits[{name!r}]") for name, limit in limits.items()}


def _checked(limit: Any, what: str) -> Limit:
    if (
        not isinstance(limit, (tuple, list))
        or len(limit) != 2
        or not all(end is None or _is_number(end) for end in limit)
    ):
        raise UserError(
            f"{what} must be a pair of numbers, either of which may be None, got {limit!r}"
        )
    low, high = limit
    if low is not None and high is not None and not low < high:
        raise UserError(f"{what}: the first must be below the second, got {low:g} and {high:g}")
    return low, high


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
