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
from nnstudy.search.distributions import describe, values_of
from nnstudy.search.space import Space

DECADES = "decades"
"""Value of the option points that lays a number by factors of ten."""

Points = int | str | Mapping[str, int | str] | None

_MOST_VALUES = 10_000  # of one axis; a grid with more cannot be meant


def grid_axes(space: Space, points: Points = None) -> dict[str, list[Any]]:
    """Returns the values of each parameter of a grid.

    A categorical parameter has its choices, a number with a step its steps. ``points``
    lays at most so many evenly, on the scale of the parameter (log or linear), and rounded
    to its steps; without it a range that has no steps cannot be laid out. By ``"decades"``
    a logarithmic range has its largest value, a tenth of that and so on, and its least.

    Args:
        space: The space.
        points: Per number, or ``"decades"``, for all numbers or by name.

    Raises:
        UserError: A number has neither steps nor points, or a parameter has several ranges, or one that
            is not logarithmic is to be laid by decades.
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


def grid_size(space: Space, points: Points = None) -> int:
    """Returns the number of points of a grid; arguments and errors as for ``grid_axes``."""
    return math.prod(len(values) for values in grid_axes(space, points).values())


def points_for(space: Space, trials: int) -> dict[str, int]:
    """Chooses points for each number, so that a grid has about as many as there are trials.

    Each number gets as many as the others, as far as its range has them: whichever has the
    fewest gets one more until the grid has enough, in the order in which they are asked for.

    Args:
        space: The space.
        trials: What the grid is to have at least, where whole numbers and steps allow.

    Returns:
        Points by number, for ``grid_axes``.
    """
    points = dict.fromkeys(space.numeric, 1)
    size = grid_size(space, points)
    growing = list(points)
    while size < trials and growing:
        name = min(growing, key=lambda name: points[name])
        points[name] += 1
        larger = grid_size(space, points)
        if larger <= size:  # one more falls on the same whole numbers or steps
            points[name] -= 1
            growing.remove(name)
        else:
            size = larger
    return points


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


def _axis(name: str, distribution: BaseDistribution, points: int | str | None) -> list[Any]:
    if points == DECADES and not isinstance(distribution, CategoricalDistribution):
        return _decades(name, distribution)
    if points is not None and not isinstance(distribution, CategoricalDistribution):
        if type(points) is not int or points < 1:
            raise UserError(
                f"The option points must be a whole number from 1, or {DECADES}, got {points!r}"
                f" for {name}"
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


def _decades(name: str, distribution: Any) -> list[Any]:
    low, high = distribution.low, distribution.high
    if distribution.single():
        return [low]
    if not distribution.log:
        raise UserError(
            f"A grid by decades needs a range on a log scale, and {name} is"
            f" {describe(distribution)}. Ask for it with log=True, or give it so many points"
        )
    # A hair above the least, so that rounding makes no two points of one.
    count = math.ceil(math.log10(high / low) - 1e-9)
    values = [low, *(high / 10**power for power in range(count))]
    if isinstance(distribution, IntDistribution):
        return sorted({round(value) for value in values})
    return sorted({max(low, float(f"{value:.12g}")) for value in values})
