"""One point of a space: as told, or its start, or its middle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from nnstudy.errors import UserError
from nnstudy.search.distributions import contains, describe, middle
from nnstudy.study.quiet_optuna import quiet_optuna

Answer = TypeVar("Answer")


def ask_for_point(
    recipe: Callable[[optuna.Trial], Answer],
    *,
    point: Mapping[str, Any],
    start: Mapping[str, Any],
) -> tuple[optuna.Trial, Answer]:
    """Asks a recipe at one point of its space.

    Args:
        recipe: Takes a trial.
        point: Values that are given.
        start: Values for parameters that are not given; the rest get the middle of their
            range, on a log scale where it has one, or the first choice.

    Returns:
        The trial, with what was asked and answered, and what the recipe returned.

    Raises:
        UserError: If a value of ``point`` lies outside its range, or is not asked for.
    """
    with quiet_optuna():
        trial = optuna.create_study(sampler=_Central(point, start)).ask()
    answer = recipe(trial)
    if unknown := [name for name in point if name not in trial.params]:
        raise UserError(
            f"The recipe asks for no parameter {unknown[0]!r} at this point. It asks for:"
            f" {', '.join(trial.params) or 'none'}"
        )
    return trial, answer


class _Central(BaseSampler):
    def __init__(self, point: Mapping[str, Any], start: Mapping[str, Any]) -> None:
        self._point = point
        self._start = start

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        for values in (self._point, self._start):
            if param_name in values:
                value = values[param_name]
                if not contains(param_distribution, value):
                    raise UserError(
                        f"{param_name} = {value!r} lies outside {describe(param_distribution)}"
                    )
                return value
        return middle(param_distribution)
