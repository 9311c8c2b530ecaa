"""The arms of a comparison by time: each size, with the rate as it is and in proportion to it.

Source of the second: P. Goyal and others, "Accurate, Large Minibatch SGD: Training ImageNet in
1 Hour" (2017), section 2.1, the linear scaling rule: when the minibatch is k times as large, k
times the learning rate. It is meant for SGD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from nnstudy.errors import UserError
from nnstudy.search.distributions import contains, describe, is_number
from nnstudy.search.ranges.given import Range, Ranges
from nnstudy.search.space import Space

Size = int | float


def sizes_of(name: str, asked: BaseDistribution) -> list[Size]:
    """Returns the sizes to compare: all choices, or the powers of two in a range, ascending.

    Raises:
        UserError: If there are fewer than two, or they are no sizes.
    """
    found: list[Size] = []
    if isinstance(asked, CategoricalDistribution):
        numbers: list[Any] = [choice for choice in asked.choices if is_number(choice)]
        if len(numbers) == len(asked.choices) and min(numbers) > 0:
            found = sorted(numbers)
    elif isinstance(asked, IntDistribution):
        powers = (2**exponent for exponent in range(asked.high.bit_length()))
        found = [size for size in powers if contains(asked, size)]
    if len(found) < 2:
        raise UserError(
            f"{name} is {describe(asked)}, which are no two sizes to compare: ask for choices that"
            " are numbers above 0, or for whole numbers with two powers of two among them"
        )
    return found


def check_arms(space: Space, size: str, scaled: Sequence[str]) -> int:
    """Checks that a space has what a comparison by time varies.

    Args:
        space: What the recipe asks for.
        size: The parameter whose values are compared.
        scaled: Parameters that are tried in proportion to it.

    Returns:
        The number of arms.

    Raises:
        UserError: If something is asked for in two ways, or is no size or no real number.
    """
    for name in (size, *scaled):
        if len(space.named(name).distributions) > 1:
            raise UserError(
                f"{name} is asked for as {space.named(name)}; what is compared by time must be"
                " asked for in one way"
            )
    for name in scaled:
        asked = space.named(name).distributions[0]
        if not isinstance(asked, FloatDistribution):
            raise UserError(f"{name} cannot be scaled: it is {describe(asked)}, no real number")
    return 2 * len(sizes_of(size, space.named(size).distributions[0])) - 1


def reference_for(size: str, scaled: Sequence[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the point that other sizes and rates are relative to.

    Args:
        size: The parameter whose values are compared.
        scaled: Parameters that are tried in proportion to it.
        known: The best point so far, or the study's start.

    Raises:
        UserError: If it lacks one of them.
    """
    if missing := [name for name in (size, *scaled) if name not in known]:
        raise UserError(
            f"relative to which {missing[0]} is {', '.join(scaled)} to be scaled? Give the study a"
            f" start={{{missing[0]!r}: ...}}"
        )
    return {name: known[name] for name in (size, *scaled)}


def arms(
    space: Space,
    reference: Mapping[str, Any],
    limits: Mapping[str, Sequence[float | None]],
) -> list[dict[str, Any]]:
    """Returns the points to try: each size twice, the reference's own once.

    Args:
        space: What the recipe asks for.
        reference: A size, and after it the values that belong to it.
        limits: The study's, by parameter; scaled values beyond them are left out.
    """
    size, *scaled = reference
    sizes = {*sizes_of(size, space.named(size).distributions[0]), reference[size]}
    points = []
    for value in sorted(sizes):
        points.append({**reference, size: value})
        factor = value / reference[size]
        point = {size: value, **{name: reference[name] * factor for name in scaled}}
        if factor != 1 and all(_is_within(point[n], limits.get(n, (None, None))) for n in scaled):
            points.append(point)
    return points


def spanning(ranges: Ranges, points: Sequence[Mapping[str, Any]]) -> Ranges:
    """Returns ranges that hold all values of the points."""
    return Ranges([_spanning(entry, points) for entry in ranges.ranges])


def _spanning(entry: Range, points: Sequence[Mapping[str, Any]]) -> Range:
    values = [point[entry.name] for point in points if entry.name in point]
    if not values:
        return entry
    asked = entry.asked
    if isinstance(asked, FloatDistribution):
        given = FloatDistribution(min(values), max(values), log=asked.log)
        return replace(
            entry, given=given, evidence="as it is, and in proportion (linear scaling rule)"
        )
    compared = ", ".join(f"{value:g}" for value in dict.fromkeys(values))
    return replace(entry, given=asked, evidence=f"compared by elapsed time: {compared}")


def _is_within(value: float, limit: Sequence[float | None]) -> bool:
    least, most = limit
    return (least is None or value >= least) and (most is None or value <= most)
