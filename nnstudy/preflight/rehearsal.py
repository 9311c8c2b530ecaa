"""A rehearsal: a few minibatches at a few points of the space, before any budget is spent."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna

from nnstudy.data import Data
from nnstudy.errors import UserError
from nnstudy.preflight.fit import refuse_misfit
from nnstudy.study import Study
from nnstudy.study.blame import blame
from nnstudy.study.building import Conditions, build_training
from nnstudy.study.quiet_optuna import quiet_optuna
from nnstudy.training import Diverged, Recipe, Training
from nnstudy.training.seeds import seed_everything

_POINTS = 3
_MINIBATCHES = 10


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal found.

    Attributes:
        epoch_seconds: Expected time of an epoch with its validation, in seconds; None where
            the loop is the user's own and was not started.
        failures: For each point that could not be trained, what was raised and where.
        points: The values of the others, at which checks can go on.
    """

    epoch_seconds: float | None
    failures: tuple[str, ...]
    points: tuple[Mapping[str, Any], ...] = ()


def rehearse(
    study: Study,
    data: Data,
    conditions: Conditions,
    *,
    starts: Sequence[Mapping[str, Any]] = (),
    is_own: Callable[[Path], bool],
) -> Rehearsal:
    """Builds the recipe at a few points and trains some minibatches of each.

    Args:
        study: The study.
        data: Its data.
        conditions: What all trials have in common.
        starts: Points to begin with.
        is_own: Says of a file whether it is the user's, for the lines an error names.

    Raises:
        UserError: If none of the points could be trained; with the line of the study file.
    """
    optuna_study = quiet_study()
    for point in list(starts)[:_POINTS]:
        optuna_study.enqueue_trial(dict(point))
    seconds: list[float] = []
    failures: list[str] = []
    points: list[Mapping[str, Any]] = []
    tried = 0
    for number in range(_POINTS):
        tried += 1
        trial = optuna_study.ask()
        try:
            seed_everything(number)
            recipe = study.recipe(trial, data)
            if not isinstance(recipe, Recipe):
                build_training(recipe, study, data, conditions, seed=(number,))
                points.append(trial.params)
                break
            seconds.append(_time_epoch(recipe, study, data, conditions))
        except optuna.TrialPruned:
            continue
        except Diverged:
            pass
        except Exception as error:
            failures.append(blame(error, is_own))
            continue
        if trial.params not in points:
            points.append(trial.params)
    if len(failures) == tried:
        raise UserError(
            f"Study {study.name!r}: none of {tried} sampled recipes can be trained."
            f" The first fails with\n{failures[0]}"
        )
    epoch_seconds = statistics.median(seconds) if seconds else None
    return Rehearsal(epoch_seconds, tuple(failures), tuple(points))


def quiet_study(seed: int = 0) -> optuna.Study:
    """Returns a study in memory that draws at random, and says nothing."""
    with quiet_optuna():
        return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))


def _time_epoch(recipe: Recipe, study: Study, data: Data, conditions: Conditions) -> float:
    """Trains the recipe for some minibatches and validates it; returns seconds per epoch."""
    # The training keeps its length, on which schedules depend; only the first validation comes
    # early.
    early = replace(conditions, validate_every=_MINIBATCHES * recipe.batch_size)
    training = build_training(recipe, study, data, early, seed=(0,))
    assert isinstance(training, Training)
    refuse_misfit(training, data)
    started = time.perf_counter()
    record = next(iter(training))
    stepping = time.perf_counter() - started - training.seconds_of_validation
    if conditions.metric not in record.values:
        raise UserError(
            f"the metric {conditions.metric!r} is not among the values of an epoch:"
            f" {', '.join(sorted(record.values))}. Set Study(metric=...) to one of them"
        )
    per_minibatch = stepping / training.position
    return per_minibatch * training.budget.steps.per_epoch + training.seconds_of_validation
