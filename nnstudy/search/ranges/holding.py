"""Holding parameters at one value while others are searched: one at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from nnstudy.errors import UserError
from nnstudy.search.distributions import describe, middle, values_of
from nnstudy.search.ranges.given import Range, Ranges
from nnstudy.search.space import Space


def as_asked(space: Space) -> Ranges:
    """Returns the ranges that a recipe asks for, unchanged."""
    return Ranges(
        [
            Range(name, asked, asked, "as asked for")
            for name, parameter in space.parameters.items()
            for asked in parameter.distributions
        ]
    )


def is_held(name: str, only: Collection[str], hold: Mapping[str, Any]) -> bool:
    """Tells whether a stage holds a parameter."""
    return name in hold or bool(only and name not in only)


def held(
    ranges: Ranges,
    only: Collection[str],
    hold: Mapping[str, Any],
    *,
    best: Mapping[str, Any],
    start: Mapping[str, Any],
    settled: Mapping[str, Any] | None = None,
) -> Ranges:
    """Returns ranges in which all parameters that a stage does not search have one value.

    What the best trial so far was not asked for, since it took another branch of the recipe,
    keeps its range.

    Args:
        ranges: The ranges without regard to that.
        only: What is searched; empty: everything.
        hold: Values whatever was best so far.
        best: The best point so far, or empty.
        start: The study's start values.
        settled: Values that an earlier stage has settled by elapsed time, and that are held unless
            ``only`` names them.

    Raises:
        UserError: If a value cannot be had, or is of the wrong kind.
    """
    _refuse_unknown(ranges, only, hold, best, start)
    settled = {name: value for name, value in (settled or {}).items() if name not in only}
    return Ranges([_held(entry, only, hold, settled, best, start) for entry in ranges.ranges])


def provisional(space: Space, only: Collection[str], hold: Mapping[str, Any]) -> Ranges:
    """Returns ranges of the right shape before it is known at which values others are held."""
    return Ranges(
        [
            replace(entry, given=_single(entry, _any_value(entry.asked)))
            if is_held(entry.name, only, hold)
            else entry
            for entry in as_asked(space).ranges
        ]
    )


def _held(
    entry: Range,
    only: Collection[str],
    hold: Mapping[str, Any],
    settled: Mapping[str, Any],
    best: Mapping[str, Any],
    start: Mapping[str, Any],
) -> Range:
    name = entry.name
    if not is_held(name, only, {**settled, **hold}):
        return entry
    for values, why in (
        (hold, "held there by the stage"),
        (settled, "held at what improved fastest by elapsed time"),
        (best, "held at the best so far"),
        (start, "held at its start value"),
    ):
        if name in values:
            return replace(entry, given=_single(entry, values[name]), evidence=why)
    return replace(entry, evidence="the best so far has none, so it is searched")


def _refuse_unknown(
    ranges: Ranges,
    only: Collection[str],
    hold: Mapping[str, Any],
    best: Mapping[str, Any],
    start: Mapping[str, Any],
) -> None:
    """Raises UserError where nothing says at which values to hold what is not searched."""
    if best:
        return
    missing: dict[str, Any] = {}
    for entry in ranges.ranges:
        if is_held(entry.name, only, hold) and entry.name not in {**hold, **start}:
            missing.setdefault(entry.name, _short(middle(entry.asked)))
    if missing:
        point = ", ".join(f"{n!r}: {value!r}" for n, value in {**start, **missing}.items())
        raise UserError(
            f"a stage that searches only {', '.join(only)} must know at which value to hold"
            f" {', '.join(missing)}. Add to the study, with values that you trust (these are the"
            f" middles of what is asked for): start={{{point}}}"
        )


def _short(value: Any) -> Any:
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _single(entry: Range, value: Any) -> BaseDistribution:
    asked = entry.asked
    if isinstance(asked, CategoricalDistribution) and value in asked.choices:
        return CategoricalDistribution([value])
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Linear: a log scale has no place for a weight decay of 0.
    if isinstance(asked, IntDistribution) and is_number and value == int(value):
        return IntDistribution(int(value), int(value))
    if isinstance(asked, FloatDistribution) and is_number:
        return FloatDistribution(float(value), float(value))
    raise UserError(f"{entry.name} cannot be held at {value!r}: it is {describe(asked)}")


def _any_value(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return distribution.low
    values = values_of(distribution, limit=1)
    return values[0] if values else None
