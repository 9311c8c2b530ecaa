"""Ranges that go on beyond the edges that good values crowd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nnstudy.search.distributions import key
from nnstudy.search.ranges.borders import Border
from nnstudy.search.ranges.given import Range, Ranges
from nnstudy.search.ranges.wider import wider
from nnstudy.study.limits import NO_LIMIT, Limit


def extended(ranges: Ranges, borders: Sequence[Border], limits: Mapping[str, Limit]) -> Ranges:
    """Returns the ranges in which a search goes on that has crowded some of their edges.

    All else is searched as before, so that scores in both can be compared.

    Args:
        ranges: What was searched.
        borders: The edges that are crowded.
        limits: By parameter, what its range may never go beyond.
    """
    return Ranges([_extended(entry, borders, limits) for entry in ranges.ranges])


def _extended(entry: Range, borders: Sequence[Border], limits: Mapping[str, Limit]) -> Range:
    given, evidence = entry.given, []
    for border in borders:
        if border.parameter != entry.name or key(border.asked) != key(entry.given):
            continue
        # Again, since both of its edges may be crowded.
        longer = wider(given, border.edge, limits.get(entry.name, NO_LIMIT))
        if longer is not None:
            given = longer
            evidence.append(border.finding)
    if not evidence:
        return entry
    return replace(entry, given=given, evidence="; ".join(evidence))
