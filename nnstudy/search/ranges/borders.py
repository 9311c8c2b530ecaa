"""Parameters whose best values crowd an edge of their range, and the range they should have had.

CS231n, "Hyperparameter optimization": "Careful with best values on border".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from nnstudy.search.distributions import describe, ends_of, is_number, key, values_of
from nnstudy.search.ranges.good import good, ranked
from nnstudy.search.ranges.scale import Scale
from nnstudy.search.ranges.wider import Edge, wider
from nnstudy.study import Direction
from nnstudy.study.limits import NO_LIMIT, Limit

EDGES: tuple[Edge, Edge] = ("low", "high")

SURE = 0.02
"""Chance up to which good values near an edge are no accident, for both edges of a parameter.

It holds for up to ``SURE_TRIALS`` trials, and falls as their number grows: what a sampler took for
good by chance at first it draws more often, and so finds good by chance again.
"""

SURE_TRIALS = 20

ZONE = 0.1
"""Share of a range that is its edge, to which half the mean distance of two trials is added."""

_BEST = 3
_BEST_INSIDE = 2


@dataclass(frozen=True)
class Border:
    """An edge of a range that good values crowd.

    Attributes:
        parameter: Its name.
        edge: ``low`` or ``high``.
        asked: The range, or choices that all are numbers, that was searched.
        wider: What it should have been.
        share: Part of the range that counts as its edge, in the scale it is searched in.
        best_inside: How many of the three best trials lie in that part.
        good: Number of good trials.
        good_inside: How many of them lie in that part.
        trials: Number of trials.
        inside: How many of them lie in that part.
        probability: That by chance the good ones lie as near to the edge, or nearer, had each
            of the trials been as likely to be a good one.
    """

    parameter: str
    edge: Edge
    asked: BaseDistribution
    wider: BaseDistribution
    share: float
    best_inside: int
    good: int
    good_inside: int
    trials: int
    inside: int
    probability: float

    @property
    def expected(self) -> float:
        """How many good trials chance would put there."""
        return self.good * self.inside / self.trials

    def __str__(self) -> str:
        return f"{self.parameter}: {self.finding}: {self._advice()}"

    @property
    def finding(self) -> str:
        """What is crowded, in words."""
        end = f"{self.edge}est"
        if isinstance(self.asked, CategoricalDistribution):
            choices = ", ".join(f"{choice:g}" for choice in _in_order(self.asked))
            where = f"have the {end} of {choices}"
        else:
            where = f"lie in the {end} {self.share:.0%} of {describe(self.asked)}"
        best = f"the {_BEST}" if self.best_inside == _BEST else f"{self.best_inside} of the {_BEST}"
        return (
            f"{best} best and {self.good_inside} of the {self.good} good trials"
            f" {where}, where chance would put {self.expected:.2g}"
        )

    def _advice(self) -> str:
        if isinstance(self.wider, CategoricalDistribution):
            return f"try {self.wider.choices[-1]:g} too"
        ends = ends_of(self.wider)
        assert ends is not None
        low, high = ends
        return f"search down to {low:.6g}" if self.edge == "low" else f"search up to {high:.6g}"

    def to_dict(self) -> dict[str, Any]:
        """Returns the border as JSON-ready values, with itself in words as ``text``."""
        return {
            "parameter": self.parameter,
            "edge": self.edge,
            "asked": json.loads(key(self.asked)),
            "wider": json.loads(key(self.wider)),
            "share": self.share,
            "best_inside": self.best_inside,
            "good": self.good,
            "good_inside": self.good_inside,
            "trials": self.trials,
            "inside": self.inside,
            "expected": self.expected,
            "probability": self.probability,
            "text": str(self),
        }


def borders(
    trials: Sequence[FrozenTrial],
    direction: Direction,
    limits: Mapping[str, Limit] | None = None,
) -> list[Border]:
    """Finds the edges that good values crowd and that can be gone beyond.

    Two things are asked for, of each range by itself. The best quarter of its trials must lie
    nearer to the edge than the others (Mann and Whitney 1947), which they do by chance alone
    where a parameter has no effect. That test takes the places of all trials as they are, so
    that it is no evidence in itself if a sampler has drawn many of them there. And two of the
    three best must lie in the outermost tenth, or else the best value lies within.

    Args:
        trials: Of a stage; those that are not finished or have failed are left out.
        direction: ``minimize`` or ``maximize``.
        limits: By parameter, what its range may never go beyond.

    Returns:
        In the order in which trials ask for the parameters.
    """
    limits = limits or {}
    return [
        border
        for name, asked, having in _ranges(ranked(trials, direction))
        for edge in EDGES
        if (border := _border(name, asked, edge, having, limits.get(name, NO_LIMIT)))
    ]


def _ranges(
    trials: Sequence[FrozenTrial],
) -> Iterator[tuple[str, BaseDistribution, list[FrozenTrial]]]:
    """Yields each range that has edges, with the trials that were asked just that."""
    groups: dict[tuple[str, str], list[FrozenTrial]] = {}
    for trial in trials:
        for name, asked in trial.distributions.items():
            groups.setdefault((name, key(asked)), []).append(trial)
    for (name, _), having in groups.items():
        asked = having[0].distributions[name]
        if _has_edges(asked):
            yield name, asked, having


def _has_edges(asked: BaseDistribution) -> bool:
    if isinstance(asked, CategoricalDistribution):
        return len(asked.choices) > 2 and all(map(is_number, asked.choices))
    return isinstance(asked, FloatDistribution | IntDistribution) and values_of(asked, 2) is None


def _border(
    name: str, asked: BaseDistribution, edge: Edge, trials: Sequence[FrozenTrial], limit: Limit
) -> Border | None:
    """Returns the border at an edge, or None.

    Args:
        name: The parameter.
        asked: What was searched.
        edge: Which end of it.
        trials: The best first.
        limit: What the range may never go beyond.
    """
    from scipy.stats import mannwhitneyu  # takes a while to import

    best = len(good(trials))
    longer = wider(asked, edge, limit)
    if best < _BEST or best == len(trials) or longer is None:
        return None
    distances = _distances(asked, edge, [trial.params[name] for trial in trials])
    share = ZONE + 0.5 / len(trials)
    inside = distances <= share + 1e-9
    best_inside = int(inside[:_BEST].sum())
    if best_inside < _BEST_INSIDE:
        return None
    probability = float(mannwhitneyu(distances[:best], distances[best:], alternative="less").pvalue)
    if not probability <= SURE * min(1.0, SURE_TRIALS / len(trials)) / len(EDGES):
        return None
    return Border(
        parameter=name,
        edge=edge,
        asked=asked,
        wider=longer,
        share=share,
        best_inside=best_inside,
        good=best,
        good_inside=int(inside[:best].sum()),
        trials=len(trials),
        inside=int(inside.sum()),
        probability=probability,
    )


def _distances(asked: BaseDistribution, edge: Edge, values: Sequence[float]) -> NDArray[np.float64]:
    """Returns how far values lie from an edge, in lengths of the range as it is searched."""
    if isinstance(asked, FloatDistribution | IntDistribution):
        scale = Scale(asked)
        places = [scale.position(value) for value in values]
    else:
        ordered = _in_order(asked)
        places = [ordered.index(value) / (len(ordered) - 1) for value in values]
    return np.array(places) if edge == "low" else 1.0 - np.array(places)


def _in_order(asked: BaseDistribution) -> list[float]:
    assert isinstance(asked, CategoricalDistribution)
    return sorted(choice for choice in asked.choices if isinstance(choice, int | float))
