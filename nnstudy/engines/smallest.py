"""The point of a space at which a recipe's network is smallest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
import torch
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from torch import nn

from nnstudy.engines.central_point import ask_for_point
from nnstudy.engines.quick_models import count_weights

Ask = Callable[[optuna.Trial], Any]


@dataclass(frozen=True)
class SmallPoint:
    """A point of a space, asked for what small networks it holds.

    Attributes:
        params: The values at the point.
        distributions: What was asked for there.
        returned: What the recipe returned, without weights where it bears that: ask again to
            train it.
        weights: Numbers that its network learns; None where no network is known.
    """

    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    returned: object
    weights: int | None


def smallest_point(recipe: Ask, start: Mapping[str, Any]) -> SmallPoint:
    """Makes the network of a recipe as small as its space allows, and leaves the rest.

    Which parameters are about size no name tells for sure, so they are found by counting
    weights: each parameter in turn is set to its ends, or to each of its choices, and stays where
    the network is smallest. All others are those of the start, or in the middle of their range.
    Where no network is known, whole numbers are set to their lowest values.

    Args:
        recipe: Takes a trial.
        start: Values to begin with; the middle of their ranges for those not given.

    Raises:
        Exception: What the recipe raises at the start.
    """
    best = _ask(recipe, {}, start)
    if best.weights is None:
        lowest = {
            name: asked.low
            for name, asked in best.distributions.items()
            if isinstance(asked, IntDistribution)
        }
        return _try(recipe, lowest, start) or best
    fixed: dict[str, Any] = {}
    seen: set[str] = set()
    # A smaller network may ask for other parameters.
    while left := [name for name in best.distributions if name not in seen]:
        name = left[0]
        seen.add(name)
        for value in _extremes(best.distributions[name]):
            other = _try(recipe, {**fixed, name: value}, start)
            if other and other.weights is not None and other.weights < (best.weights or 0):
                best, fixed = other, {**fixed, name: value}
    return best


def _try(recipe: Ask, point: Mapping[str, Any], start: Mapping[str, Any]) -> SmallPoint | None:
    """Asks at a point; None where it cannot be built, which is for pre-flight to tell."""
    try:
        return _ask(recipe, point, start)
    except Exception:
        return None


def _ask(recipe: Ask, point: Mapping[str, Any], start: Mapping[str, Any]) -> SmallPoint:
    try:
        with torch.device("meta"):
            trial, returned = ask_for_point(recipe, point=point, start=start)
    except Exception:
        # Some recipes compute with weights while they build, which "meta" has none of.
        trial, returned = ask_for_point(recipe, point=point, start=start)
    return SmallPoint(trial.params, trial.distributions, returned, _weights(returned))


def _weights(returned: object) -> int | None:
    network = getattr(returned, "network", None)
    return count_weights(network) if isinstance(network, nn.Module) else None


def _extremes(distribution: BaseDistribution) -> tuple[Any, ...]:
    if isinstance(distribution, CategoricalDistribution):
        return tuple(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.low, distribution.high
