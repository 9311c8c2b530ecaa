"""How often each verdict was given in a stage, and which parameter explains it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from nnstudy.diagnostics.verdicts import RULES
from nnstudy.search.distributions import is_number
from nnstudy.search.endings import ATTRIBUTE

SURE = 0.05
"""Chance up to which a parameter that separates the trials would not do so by accident."""


@dataclass(frozen=True)
class Separation:
    """A parameter that tells the trials with a verdict from all others.

    Attributes:
        parameter: Its name.
        side: ``above`` or ``below`` a threshold, or ``in`` a set of values.
        value: The threshold, or the values.
    """

    parameter: str
    side: str
    value: Any

    def __str__(self) -> str:
        if self.side != "in":
            return f"{self.parameter} {self.side} {self.value:g}"
        return f"{self.parameter} {' or '.join(str(value) for value in self.value)}"


@dataclass(frozen=True)
class VerdictCount:
    """How often a verdict was given.

    Attributes:
        name: Of the verdict.
        trials: Numbers of the trials that have it.
        judged: Number of trials that were judged.
        separation: What all of them have and no other trial has, if there is such a thing.
    """

    name: str
    trials: list[int]
    judged: int
    separation: Separation | None

    def __str__(self) -> str:
        count = len(self.trials)
        text = f"{self.name}: {count} of {self.judged} trials ({count / self.judged:.0%})"
        if self.separation:
            text += f", all that have {self.separation}"
        return text


def verdicts_of(trial: FrozenTrial) -> list[dict[str, Any]]:
    """Returns the verdicts on a finished trial."""
    return list(trial.user_attrs.get(ATTRIBUTE, {}).get("verdicts", []))


def verdict_counts(trials: Sequence[FrozenTrial]) -> list[VerdictCount]:
    """Counts the verdicts on finished trials, in the order of their importance.

    Args:
        trials: Of a stage; those that are not finished, have failed or have no verdict are left
            out.
    """
    judged = [trial for trial in trials if trial.state.is_finished() and verdicts_of(trial)]
    names = {trial.number: {v["name"] for v in verdicts_of(trial)} for trial in judged}
    counts = []
    for rule in RULES:
        having = [trial for trial in judged if rule.name in names[trial.number]]
        if having:
            others = [trial for trial in judged if rule.name not in names[trial.number]]
            numbers = [trial.number for trial in having]
            counts.append(VerdictCount(rule.name, numbers, len(judged), separation(having, others)))
    return counts


def separation(having: Sequence[FrozenTrial], others: Sequence[FrozenTrial]) -> Separation | None:
    """Finds a parameter that cleanly separates some trials from others.

    Were a verdict given by accident to k of n trials, one way of separating them (all of the
    largest values of a parameter, say) would do so with probability 1 / C(n, k). With several
    ways it is at most their number times that (Bonferroni), which must not be above 5 %: so a
    few trials, or one on one side, explain nothing.

    Args:
        having: Trials with a verdict.
        others: Trials without it.

    Returns:
        Of several parameters the one with the widest gap in its range; None if there is none.
    """
    trials = [*having, *others]
    shared = [name for name in trials[0].params if all(name in t.params for t in trials)]
    columns = {name: [t.params[name] for t in trials] for name in shared}
    ways = sum(_ways(column) for column in columns.values())
    if not others or ways > SURE * math.comb(len(trials), len(having)):
        return None
    found = [
        pair
        for name, column in columns.items()
        for pair in _separated(
            name,
            column[: len(having)],
            column[len(having) :],
            log=getattr(trials[0].distributions[name], "log", False),
        )
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _ways(column: Sequence[Any]) -> int:
    """Returns in how many ways a parameter could separate trials."""
    if all(map(is_number, column)):
        return 2
    return (1 << len(set(column))) - 2


def _separated(
    name: str, having: Sequence[Any], others: Sequence[Any], *, log: bool
) -> Iterator[tuple[float, Separation]]:
    """Yields the separation by one parameter, if there is one, after its gap in shares of 1."""
    if not all(map(is_number, [*having, *others])):
        if not set(having) & set(others):
            yield 1.0, Separation(name, "in", sorted(set(having), key=str))
        return
    scale = math.log if log else float
    low, high = min(*having, *others), max(*having, *others)
    for side, below, above in (("above", others, having), ("below", having, others)):
        if max(below) < min(above):
            gap = (scale(min(above)) - scale(max(below))) / (scale(high) - scale(low))
            yield gap, Separation(name, side, _between(max(below), min(above), log=log))


def _between(low: float, high: float, *, log: bool) -> float:
    """Returns the roundest number near the middle of an interval, that lies inside of it."""
    middle = math.sqrt(low * high) if log else (low + high) / 2
    for digits in range(1, 17):
        rounded = float(f"{middle:.{digits}g}")
        if low < rounded < high:
            return rounded
    return middle
