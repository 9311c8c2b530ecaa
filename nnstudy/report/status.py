"""How far studies are, from Optuna's storage alone."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from nnstudy.report.time_left import time_left
from nnstudy.search import requests
from nnstudy.search.evaluation import test_looks
from nnstudy.search.leases import LeaseInfo, Leases
from nnstudy.search.plan import Plan
from nnstudy.search.results import STATES, best_trial, ending_of
from nnstudy.search.stored import StoredStage, require_stages, stored_stages


@dataclass(frozen=True)
class Best:
    """The best complete trial of a stage.

    Attributes:
        trial: Its number.
        value: What it reached.
        params: Its parameters.
    """

    trial: int
    value: float
    params: dict[str, Any]


@dataclass(frozen=True)
class Running:
    """A trial that a worker holds.

    Attributes:
        trial: Its number.
        epoch: The epoch it reported last; 0 before the first. Reports thin out, so that it may
            be a fifth further.
        value: What it reported then, its best so far, or None.
        worker: Host and process that hold it.
        age_seconds: Time since it began.
        params: Its parameters.
    """

    trial: int
    epoch: float
    value: float | None
    worker: str
    age_seconds: float
    params: dict[str, Any]


@dataclass(frozen=True)
class StageStatus:
    """How far a stage is.

    Attributes:
        study: Name of the study.
        stage: Name of the stage.
        metric: What is optimised.
        direction: ``minimize`` or ``maximize``.
        trials: Finished trials that the stage ends with.
        epochs: Largest number of epochs of a trial.
        finished: Finished trials.
        states: Trials by state: how the finished ones ended, ``running`` (a worker holds the
            trial), ``interrupted`` (to be continued by the next launch) and ``waiting``.
        best: The best trial so far, or None.
        running: The running trials.
        seconds_left: Expected time until the stage is done; None where it is not known, as
            while nobody works.
        stopping: Whether it was asked to stop.
        test_looks: How often the test part of the data was looked at.
    """

    study: str
    stage: str
    metric: str
    direction: str
    trials: int
    epochs: float
    finished: int
    states: dict[str, int]
    best: Best | None
    running: list[Running] = field(default_factory=list)
    seconds_left: float | None = None
    stopping: bool = False
    test_looks: int = 0


def study_status(storage: RDBStorage, study: str | None = None) -> list[StageStatus]:
    """Returns the status of each stage of a study, or of all studies.

    Raises:
        UserError: If the study is not stored.
    """
    stages = stored_stages(storage) if study is None else require_stages(storage, study)
    if not stages:
        return []
    # Looked at before the trials: a worker finishes its trial first and gives the lease back
    # then, so that no trial looks interrupted that is about to be finished.
    leases = Leases(storage, "status").all()
    return [stage_status(stage, leases) for stage in stages]


def stage_status(stage: StoredStage, leases: dict[int, LeaseInfo]) -> StageStatus:
    """Returns the status of a stage.

    Args:
        stage: As it is stored.
        leases: All leases, by trial id.
    """
    plan, study = stage.plan, stage.optuna_study
    trials = study.get_trials(deepcopy=False)
    finished = [trial for trial in trials if trial.state.is_finished()]
    begun = [trial for trial in trials if trial.state is TrialState.RUNNING]
    running = [
        _running(trial, leases[trial._trial_id], plan)
        for trial in begun
        if _is_held(leases.get(trial._trial_id))
    ]
    states = Counter(ending_of(trial) for trial in finished)
    states["running"] = len(running)
    states["interrupted"] = len(begun) - len(running)
    states["waiting"] = len(trials) - len(finished) - len(begun)
    best = best_trial(study)
    return StageStatus(
        study=plan.study,
        stage=plan.stage,
        metric=plan.metric,
        direction=plan.direction,
        trials=plan.trials,
        epochs=plan.epochs,
        finished=len(finished),
        states={name: states[name] for name in (*STATES, "running", "interrupted", "waiting")},
        best=Best(best.number, best.values[0], best.params) if best else None,
        running=running,
        seconds_left=time_left(
            _durations(finished, leases),
            [trial.age_seconds for trial in running],
            plan.trials - len(finished),
            len({trial.worker for trial in running}),
        ),
        stopping=requests.is_study_stopped(study),
        test_looks=len(test_looks(study)),
    )


def _is_held(lease: LeaseInfo | None) -> bool:
    return lease is not None and lease.expires_in_seconds > 0


def _running(trial: FrozenTrial, lease: LeaseInfo, plan: Plan) -> Running:
    step = max(trial.intermediate_values, default=0)
    started = trial.datetime_start
    now = datetime.datetime.now()
    return Running(
        trial=trial.number,
        epoch=min(plan.epochs, step * _epochs_between_validations(plan)),
        value=trial.intermediate_values.get(step),
        worker=lease.owner,
        age_seconds=max(0.0, (now - started).total_seconds()) if started else 0.0,
        params=trial.params,
    )


def _epochs_between_validations(plan: Plan) -> float:
    if plan.validate_every is None:
        return 1.0
    return float(plan.validate_every / plan.data["examples"]["train"])


def _durations(finished: list[FrozenTrial], leases: dict[int, LeaseInfo]) -> list[float]:
    """Returns how long trials took, without those that lay about between two workers."""
    return [
        trial.duration.total_seconds()
        for trial in finished
        if trial.duration is not None
        and (lease := leases.get(trial._trial_id)) is not None
        and lease.token == 1
    ]
