"""The corners of a search space: the points at which a recipe is most likely to fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import optuna
import torch
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FixedTrial

from nnstudy.preflight.candidate import Candidate
from nnstudy.training.seeds import seed_everything

Choose = Callable[[str, BaseDistribution], Any]


@dataclass(frozen=True)
class Corner:
    """What a recipe did at a corner.

    Attributes:
        params: The values it was given.
        returned: What it returned; None where it raised.
        error: What it raised, or None; ``optuna.TrialPruned`` is none.
    """

    params: Mapping[str, Any]
    returned: object
    error: Exception | None


def build_corners(candidate: Candidate) -> Iterator[Corner]:
    """Builds the recipe at each corner of its space.

    Without weights (on PyTorch's meta device) where it bears that.
    """
    for choose in _corners(candidate.search.distributions, candidate.params):
        with torch.device("meta"):
            corner = _build(candidate, choose)
        # Some recipes compute with weights while they build, which "meta" has none of.
        yield corner if corner.error is None else _build(candidate, choose)


def _build(candidate: Candidate, choose: Choose) -> Corner:
    seed_everything(candidate.seed)
    trial = _CornerTrial(choose)
    try:
        returned = candidate.study.recipe(cast("optuna.Trial", trial), candidate.data)
    except optuna.TrialPruned:
        return Corner(trial.params, None, None)
    except Exception as error:
        return Corner(trial.params, None, error)
    return Corner(trial.params, returned, None)


class _CornerTrial(FixedTrial):
    """Answers each question of a recipe by a rule, whatever its branches ask for."""

    def __init__(self, choose: Choose) -> None:
        super().__init__({})
        self._choose = choose

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        self._params.setdefault(name, self._choose(name, distribution))
        return super()._suggest(name, distribution)


def _corners(
    distributions: Mapping[str, Sequence[BaseDistribution]], base: Mapping[str, Any]
) -> Iterator[Choose]:
    """Yields rules that lead to the corners.

    All numbers low and all high, for each choice of each categorical parameter; and one number
    low or high where the others are as in ``base``.
    """
    yield _extreme(_lowest)
    yield _extreme(_highest)
    for name, asked in distributions.items():
        for distribution in asked:
            if isinstance(distribution, CategoricalDistribution):
                for choice in distribution.choices:
                    yield _extreme(_lowest, {name: choice})
                    yield _extreme(_highest, {name: choice})
            else:
                yield _extreme(_lowest, {**base, name: _lowest(distribution)})
                yield _extreme(_lowest, {**base, name: _highest(distribution)})


def _lowest(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return distribution.low
    assert isinstance(distribution, CategoricalDistribution)
    return distribution.choices[0]


def _highest(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return distribution.high
    assert isinstance(distribution, CategoricalDistribution)
    return distribution.choices[-1]


def _extreme(rule: Callable[[BaseDistribution], Any], fixed: Mapping[str, Any] = {}) -> Choose:
    def choose(name: str, distribution: BaseDistribution) -> Any:
        if name in fixed and _contains(distribution, fixed[name]):
            return fixed[name]
        return rule(distribution)

    return choose


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False
