"""Optuna's distributions, in words and as values."""

from __future__ import annotations

import math
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)


def describe(distribution: BaseDistribution) -> str:
    """Returns a range or choices in plain words: ``0.0001..10 (log)``."""
    if isinstance(distribution, CategoricalDistribution):
        return f"one of {', '.join(map(repr, distribution.choices))}"
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return str(distribution)
    notes = []
    if isinstance(distribution, IntDistribution):
        notes.append("whole")
    if distribution.log:
        notes.append("log")
    elif distribution.step is not None and distribution.step != 1:
        notes.append(f"step {distribution.step:g}")
    text = f"{distribution.low:.12g}..{distribution.high:.12g}"
    return f"{text} ({', '.join(notes)})" if notes else text


def values_of(distribution: BaseDistribution, limit: int) -> list[Any] | None:
    """Returns all values of a distribution, or None if there are more than ``limit``."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return None
    if distribution.step is None:
        return [distribution.low] if distribution.single() else None
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    if count > limit:
        return None
    if isinstance(distribution, IntDistribution):
        return [distribution.low + i * distribution.step for i in range(count)]
    # Twelve digits: 0.1 + 2 * 0.1 is to be 0.3.
    return [float(f"{distribution.low + i * distribution.step:.12g}") for i in range(count)]


def ends_of(distribution: BaseDistribution) -> tuple[float, float] | None:
    """Returns the least and the largest value of numbers, also of choices that all are numbers."""
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return distribution.low, distribution.high
    choices = getattr(distribution, "choices", ())
    if not choices or not all(map(is_number, choices)):
        return None
    return min(choices), max(choices)


def middle(distribution: BaseDistribution) -> Any:
    """Returns the value in the middle of a range, on its own scale; of choices the first."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    value = math.sqrt(low) * math.sqrt(high) if distribution.log else (low + high) / 2
    if distribution.step is not None and not distribution.log:
        value = low + round((value - low) / distribution.step) * distribution.step
    return round(value) if isinstance(distribution, IntDistribution) else value


def is_number(value: Any) -> bool:
    """Tells whether a value is a number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Tells whether a value lies in a range or among the choices."""
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False


def key(distribution: BaseDistribution) -> str:
    """Returns a text that is the same for equal distributions."""
    return distribution_to_json(distribution)
