"""Grids: the points of a space, and a sampler that gives each of them once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import GridSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from nnstudy.errors import UserError
from nnstudy.search.distributions import values_of
from nnstudy.search.space import Space

_MOST_VALUES = 10_000  # of one axis; a grid with more cannot be meant


def grid_axes(space: Space, points: int | Mapping[str, int] | None = None) -> dict[str, list[Any]]:
    """Returns the values of each parameter of a grid.

    A categorical parameter has its choices, a number with a step its steps. ``points``
    lays at most so many evenly, on the scale of the parameter (log or linear), and rounded
    to its steps; without it a range that has no steps cannot be laid out.

    Args:
        space: The space.
        points: Per number, for all numbers or by name.

    Raises:
        UserError: A number has neither steps nor points, or a parameter has several ranges.
    """
    for name in points if isinstance(points, Mapping) else ():
        if name not in space.numeric:
            raise UserError(
                f"The option points names {name!r}, which is no number of this space."
                f" Its numbers: {', '.join(space.numeric) or 'none'}"
            )
    axes = {}
    for name, parameter in space.parameters.items():
        if len(parameter.distributions) > 1:
            raise UserError(
                f"A grid needs one range for each parameter, but {name} is asked for as"
                f" {parameter}. Give the branches parameters of their own, or use another sampler"
            )
        number = points.get(name) if isinstance(points, Mapping) else points
        axes[name] = _axis(name, parameter.distributions[0], number)
    return axes


def grid_size(space: Space, points: int | Mapping[str, int] | None = None) -> int:
    """Returns the number of points of a grid; arguments and errors as for ``grid_axes``."""
    return math.prod(len(values) for values in grid_axes(space, points).values())


class ExactGridSampler(GridSampler):
    """Gives the n-th trial the n-th point, whoever asks, and starts again after the last.

    Optuna's own looks at what is finished, so that two workers may take the same point, an
    enqueued trial costs a point, and its end stops the study from within ``tell``, which
    raises RuntimeError there. Here enqueued trials are left out of the numbering, and when
    to end is for the budget to say.

    Args:
        axes: The values of each parameter.
        seed: Of the order of the points; the same for all workers.
        trial_seed: Of the draws for parameters that an enqueued trial left open.
    """

    def __init__(self, axes: Mapping[str, list[Any]], *, seed: int, trial_seed: int) -> None:
        super().__init__(axes, seed=seed)
        self._open_parameters = RandomSampler(trial_seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Stores which point the trial has."""
        if "fixed_params" in trial.system_attrs or "grid_id" in trial.system_attrs:
            return
        # By way of the storage, as in Optuna: a pruner may hide trials from the study.
        earlier = sum(
            other.number < trial.number and "fixed_params" not in other.system_attrs
            for other in study._storage.get_all_trials(study._study_id, deepcopy=False)
        )
        attributes: dict[str, Any] = {
            "search_space": self._search_space,
            "grid_id": earlier % len(self._all_grids),
        }
        for key, value in attributes.items():
            study._storage.set_trial_system_attr(trial._trial_id, key, value)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Returns the value at the trial's point."""
        if "grid_id" in trial.system_attrs:
            return super().sample_independent(study, trial, param_name, param_distribution)
        return self._open_parameters.sample_independent(
            study, trial, param_name, param_distribution
        )

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any
    ) -> None:
        """Does nothing."""


def _axis(name: str, distribution: BaseDistribution, points: int | None) -> list[Any]:
    if points is not None and not isinstance(distribution, CategoricalDistribution):
        if type(points) is not int or points < 1:
            raise UserError(
                f"The option points must be a whole number from 1, got {points!r} for {name}"
            )
        return _spread(distribution, points)
    # A log scale has no steps to speak of: whole numbers from 1 to 10,000 are not meant.
    values = None if getattr(distribution, "log", False) else values_of(distribution, _MOST_VALUES)
    if values is None:
        raise UserError(
            f"A grid needs values for {name}: give its range a step, or say how many points to"
            " lay on each number (option points=5)"
        )
    return values


def _spread(distribution: Any, points: int) -> list[Any]:
    low, high = distribution.low, distribution.high
    if points == 1:
        spread = np.array([math.sqrt(low * high) if distribution.log else (low + high) / 2])
    else:
        spread = (np.geomspace if distribution.log else np.linspace)(low, high, points)
    if distribution.step is not None:
        spread = low + np.round((spread - low) / distribution.step) * distribution.step
    spread = np.clip(spread, low, high)
    if isinstance(distribution, IntDistribution):
        return sorted({round(value) for value in spread.tolist()})
    return sorted({float(f"{value:.12g}") for value in spread.tolist()})
