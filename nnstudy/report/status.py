"""How far studies are, from Optuna's storage alone."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from nnstudy.report.time_left import time_left
from nnstudy.search import requests
from nnstudy.search.confirmation.outcome import confirmation_of
from nnstudy.search.confirmation.words import conclusion
from nnstudy.search.distillation.lesson import conclusion_of
from nnstudy.search.distributions import describe
from nnstudy.search.endings import ATTRIBUTE, ending_of, reached
from nnstudy.search.extension import can_extend, follower
from nnstudy.search.leases import LeaseInfo, Leases
from nnstudy.search.plan import Plan
from nnstudy.search.results import STATES, best_trial, borders_of
from nnstudy.search.stored import StoredStage, require_stages, stored_stages
from nnstudy.search.test_looks import test_looks
from nnstudy.search.timing.comparison import concluded
from nnstudy.search.timing.words import conclusion as timing_conclusion
from nnstudy.search.verdict_counts import VerdictCount, verdict_counts, verdicts_of


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
class Finished:
    """A trial that has ended.

    Attributes:
        trial: Its number.
        state: How it ended: complete, pruned, diverged or failed.
        value: What it reached, or None.
        epochs: How many it trained.
        verdicts: On it, the most important first: each with ``name``, ``evidence``, ``advice``
            and ``figures``.
        params: Its parameters.
    """

    trial: int
    state: str
    value: float | None
    epochs: float
    verdicts: list[dict[str, Any]]
    params: dict[str, Any]


@dataclass(frozen=True)
class Searched:
    """A parameter whose range in a stage is not the one that the recipe asks for.

    Attributes:
        name: The parameter.
        asked: What the recipe asks for, in words.
        given: What is searched, in words.
        evidence: Why.
    """

    name: str
    asked: str
    given: str
    evidence: str


@dataclass(frozen=True)
class StageStatus:
    """How far a stage is.

    Attributes:
        study: Name of the study.
        stage: Name of the stage.
        kind: ``search``, or ``confirm`` where the best trials of another stage are trained again.
        metric: What is optimised.
        direction: ``minimize`` or ``maximize``.
        trials: Finished trials that the stage ends with.
        epochs: Largest number of epochs of a trial, or of each of its folds or seeds.
        folds: With how many folds each trial is cross-validated.
        seeds: How many seeds each trial is trained with.
        finished: Finished trials.
        states: Trials by state: how the finished ones ended, ``running`` (a worker holds the
            trial), ``interrupted`` (to be continued by the next launch) and ``waiting``.
        best: The best trial so far, or None.
        running: The running trials.
        seconds_left: Expected time until the stage is done; None where it is not known, as
            while nobody works.
        stopping: Whether it was asked to stop.
        test_looks: How often the test part of the data was looked at, by trials of this stage.
        conclusion: What a confirmation or a comparison by time tells, in words; else None.
        verdicts: How often each verdict was given, the most important first.
        borders: Edges of ranges that the good values crowd, each with ``text``, ``asked``,
            ``wider`` (distributions of Optuna, as JSON) and the other fields of ``Border``.
        widens: The stage of the study with which this one goes on in wider ranges, or None.
        extended_by: The stage that goes on with this one in wider ranges, or None.
        extendable: Whether edges are crowded that a launch with ``--extend-borders`` would go
            beyond.
        ended: The trials that have ended, in their order.
        race: Whether it is one search of a race.
        ranges: What is searched instead of what the recipe asks for, by parameter.
    """

    study: str
    stage: str
    kind: str
    metric: str
    direction: str
    trials: int
    epochs: float
    folds: int
    seeds: int
    finished: int
    states: dict[str, int]
    best: Best | None
    running: list[Running] = field(default_factory=list)
    seconds_left: float | None = None
    stopping: bool = False
    test_looks: int = 0
    conclusion: str | None = None
    verdicts: list[VerdictCount] = field(default_factory=list)
    borders: list[dict[str, Any]] = field(default_factory=list)
    widens: str | None = None
    extended_by: str | None = None
    extendable: bool = False
    ended: list[Finished] = field(default_factory=list)
    race: bool = False
    ranges: list[Searched] = field(default_factory=list)


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
    by_study: dict[str, list[StoredStage]] = {}
    for stage in stages:
        by_study.setdefault(stage.plan.study, []).append(stage)
    return [
        _beside(stage_status(stage, leases), stage.plan, its)
        for its in by_study.values()
        for stage in its
    ]


def _beside(status: StageStatus, plan: Plan, stages: list[StoredStage]) -> StageStatus:
    """Returns a stage's status with what follows from the study's other stages."""
    asked = plan.extend_borders
    return replace(
        status,
        extended_by=follower(stages, plan),
        extendable=bool(status.borders) and not asked and can_extend(stages, plan),
    )


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
        kind=plan.kind,
        metric=plan.metric,
        direction=plan.direction,
        trials=plan.trials,
        epochs=plan.epochs,
        folds=plan.folds,
        seeds=plan.seeds,
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
        conclusion=_conclusion(plan, study),
        verdicts=verdict_counts(finished),
        borders=[border.to_dict() for border in borders_of(plan, finished)],
        widens=plan.widens,
        ended=[_ended(trial) for trial in finished],
        race=plan.race,
        ranges=[
            Searched(entry.name, describe(entry.asked), describe(entry.given), entry.evidence)
            for entry in plan.parsed_ranges().ranges
            if entry.is_changed
        ],
    )


def spoilt_tests(stages: Iterable[StageStatus]) -> dict[str, int]:
    """Returns the studies whose test part was looked at more than once, with how often."""
    looks: Counter[str] = Counter()
    for stage in stages:
        looks[stage.study] += stage.test_looks
    return {study: times for study, times in looks.items() if times > 1}


def _conclusion(plan: Plan, study: optuna.Study) -> str | None:
    if plan.kind == "distill":
        return conclusion_of(study)
    if plan.kind == "confirm":
        confirmation = confirmation_of(plan, study)
        return conclusion(confirmation) if confirmation else None
    timed = concluded(plan, study.get_trials(deepcopy=False))
    return timing_conclusion(timed) if timed else None


def _ended(trial: FrozenTrial) -> Finished:
    return Finished(
        trial=trial.number,
        state=ending_of(trial),
        value=reached(trial),
        epochs=trial.user_attrs.get(ATTRIBUTE, {}).get("epochs", 0.0),
        verdicts=verdicts_of(trial),
        params=trial.params,
    )


def _is_held(lease: LeaseInfo | None) -> bool:
    return lease is not None and lease.expires_in_seconds > 0


def _running(trial: FrozenTrial, lease: LeaseInfo, plan: Plan) -> Running:
    step = max(trial.intermediate_values, default=0)
    started = trial.datetime_start
    now = datetime.datetime.now()
    return Running(
        trial=trial.number,
        epoch=min(plan.epochs * plan.repeats, step * _epochs_of_step(plan)),
        value=trial.intermediate_values.get(step),
        worker=lease.owner,
        age_seconds=max(0.0, (now - started).total_seconds()) if started else 0.0,
        params=trial.params,
    )


def _epochs_of_step(plan: Plan) -> float:
    if plan.repeats > 1:
        return plan.epochs
    if plan.validate_every is None:
        return 1.0
    examples = plan.data_share * plan.data["examples"]["train"]
    return float(plan.validate_every / examples)


def _durations(finished: list[FrozenTrial], leases: dict[int, LeaseInfo]) -> list[float]:
    """Returns how long trials took, without those that lay about between two workers."""
    return [
        trial.duration.total_seconds()
        for trial in finished
        if trial.duration is not None
        and (lease := leases.get(trial._trial_id)) is not None
        and lease.token == 1
    ]
