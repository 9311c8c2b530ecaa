"""Which configurations are confirmed, and the trainings that this takes."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from nnstudy.errors import UserError
from nnstudy.search.plan import Plan, new_uid
from nnstudy.search.stored import StoredStage

CONFIRM = "confirm"

_MEMBER = "nnstudy:confirms"
_SELECTION = "nnstudy:confirmation"
_DIGITS = 12


@dataclass(frozen=True)
class Configuration:
    """A configuration that is confirmed.

    Attributes:
        trial: Number of the trial of the search that had it.
        value: What that trial reached.
        params: Its parameters.
    """

    trial: int
    value: float
    params: dict[str, Any]


@dataclass(frozen=True)
class Selection:
    """What a confirmation was asked for last.

    Attributes:
        source: Name of the stage that the configurations come from.
        configurations: The best one of the search first.
        seeds: Trainings of each.
    """

    source: str
    configurations: tuple[Configuration, ...]
    seeds: int


def training_seed(plan: Plan, trial: optuna.Trial | FrozenTrial) -> tuple[int, ...]:
    """Returns what all random numbers of a trial's training come from.

    Each trial of a search has its own. In a confirmation, all configurations share the n-th one,
    so that they can be compared pair by pair; in a distillation all students share one, so that
    what they learn from is all that they differ in.
    """
    places = {"search": trial.number, "distill": 0}
    place = member_of(trial)[1] if plan.kind == "confirm" else places[plan.kind]
    return plan.seed, zlib.crc32(plan.stage.encode()), place


def member_of(trial: optuna.Trial | FrozenTrial) -> tuple[int, int]:
    """Returns the number of the trial that a training confirms, and which seed it has, from 0."""
    member = trial.user_attrs[_MEMBER]
    return member["trial"], member["seed"]


def choose_source(stages: Sequence[StoredStage], name: str | None = None) -> StoredStage:
    """Returns the stage whose trials are to be confirmed: the last one with complete trials.

    Args:
        stages: The study's stored stages.
        name: Of a stage; default: any.

    Raises:
        UserError: If there is no such stage, or it has no complete trial.
    """
    searched = [stage for stage in stages if stage.plan.kind == "search"]
    study = stages[0].plan.study
    wanted = [stage for stage in searched if name in (None, stage.plan.stage)]
    if not wanted:
        names = ", ".join(stage.plan.stage for stage in searched)
        raise UserError(f"study {study!r} has no stage {name!r} to confirm; it has: {names}")
    for stage in reversed(wanted):
        if _complete(stage):
            return stage
    raise UserError(
        f"{f'stage {name!r} of ' if name else ''}study {study!r} has no complete trial yet, so"
        f" there is nothing to confirm; see nnstudy status {study}"
    )


def best_configurations(stage: StoredStage, top: int) -> tuple[Configuration, ...]:
    """Returns a stage's best configurations, of those that are the same the best trial's.

    Args:
        stage: Has complete trials.
        top: How many at most; there may be fewer.
    """
    sign = 1 if stage.plan.direction == "minimize" else -1
    ranked = sorted(_complete(stage), key=lambda one: (sign * one.value, one.trial))
    different: dict[Any, Configuration] = {}
    for configuration in ranked:
        different.setdefault(identity(configuration.params), configuration)
    return tuple(different.values())[:top]


def confirmation_plan(stages: Sequence[StoredStage], source: Plan) -> Plan:
    """Returns the plan of a stage's confirmation, with as many trials as it has now.

    Args:
        stages: The study's stored stages.
        source: Plan of the stage that is confirmed.
    """
    searched = [stage.plan for stage in stages if stage.plan.kind == "search"]
    # Not one in wider ranges: the stage that it goes on with may have been confirmed before.
    is_last = source.stage == [plan.stage for plan in searched if plan.widens is None][-1]
    name = CONFIRM if is_last else f"{CONFIRM}-{source.stage}"
    return replace(
        source,
        kind="confirm",
        scaled=[],
        flat_trials=None,
        stage=name,
        position=len(searched) + source.position,
        # Nothing is sampled, since each training has all its parameters, nor pruned, nor left out.
        sampler={"name": "random", "options": {}},
        pruner={"name": "none", "options": {}},
        seeds=1,  # it gives each training one of its own
        max_epochs_total=None,
        extend_borders=False,
        widens=None,
        widening=0,
        run_id="",
        uid=new_uid(),
    )


def enqueue(study: optuna.Study, configurations: Iterable[Configuration], seeds: int) -> int:
    """Enqueues the trainings that a confirmation lacks, seed by seed.

    Args:
        study: The confirmation's Optuna study.
        configurations: What to confirm.
        seeds: Trainings of each.

    Returns:
        How many trainings the confirmation has now.
    """
    there = {member_of(trial) for trial in study.get_trials(deepcopy=False)}
    wanted = [(chosen, seed) for seed in range(seeds) for chosen in configurations]
    for configuration, seed in wanted:
        if (configuration.trial, seed) not in there:
            study.enqueue_trial(
                configuration.params,
                user_attrs={_MEMBER: {"trial": configuration.trial, "seed": seed}},
            )
    return len(study.get_trials(deepcopy=False))


def retrained(stages: Sequence[StoredStage]) -> tuple[Plan, dict[int, FrozenTrial]] | None:
    """Returns the trainings with other seeds that there are of a search's best configuration.

    It is the one that a confirmation would put first: of the last stage with complete trials.

    Args:
        stages: The study's stored stages.

    Returns:
        Plan of the confirmation, and its trainings of the configuration by seed; None where
        nothing was confirmed.

    Raises:
        UserError: If no trial is complete.
    """
    source = choose_source(stages)
    [best] = best_configurations(source, 1)
    name = confirmation_plan(stages, source.plan).name
    for stage in stages:
        if stage.plan.name == name:
            members = [(member_of(one), one) for one in stage.optuna_study.get_trials(False)]
            trainings = {seed: one for (trial, seed), one in members if trial == best.trial}
            return stage.plan, dict(sorted(trainings.items()))
    return None


def keep_selection(study: optuna.Study, selection: Selection) -> None:
    """Keeps with a confirmation what it was asked for."""
    study.set_user_attr(
        _SELECTION,
        {
            "source": selection.source,
            "seeds": selection.seeds,
            "configurations": [vars(chosen) for chosen in selection.configurations],
        },
    )


def selection_of(study: optuna.Study) -> Selection | None:
    """Returns what a confirmation was asked for last; None while it is being stored."""
    kept = study.user_attrs.get(_SELECTION)
    if kept is None:
        return None
    chosen = tuple(Configuration(**fields) for fields in kept["configurations"])
    return Selection(kept["source"], chosen, kept["seeds"])


def _complete(stage: StoredStage) -> list[Configuration]:
    trials = stage.optuna_study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [
        Configuration(trial.number, trial.value, dict(trial.params))
        for trial in trials
        if trial.value is not None and math.isfinite(trial.value)
    ]


def identity(params: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Returns what parameters have in common whose numbers are the same but for rounding."""

    def rounded(value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return f"{value:.{_DIGITS}g}" if is_number else repr(value)

    return tuple((name, rounded(params[name])) for name in sorted(params))
