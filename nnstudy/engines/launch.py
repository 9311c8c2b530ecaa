"""A launch, top to bottom: look at everything, store it, run it stage by stage."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from nnstudy.engines.local import run_workers
from nnstudy.engines.options import LaunchOptions
from nnstudy.engines.orders import Orders
from nnstudy.engines.preparation import Preparation
from nnstudy.engines.storing import store_stage
from nnstudy.errors import UserError
from nnstudy.search.budget import count
from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.events import Emit, Event, ignore
from nnstudy.search.interruption import Interruption
from nnstudy.search.leases import Leases
from nnstudy.search.plan import Plan
from nnstudy.search.results import best_trial, ending_of, stage_story
from nnstudy.search.tracked import close_stage_run, open_stage_run
from nnstudy.search.worker import owner_name
from nnstudy.secret_urls import mask
from nnstudy.study import Study
from nnstudy.study.loading import load_study


@dataclass(frozen=True)
class LaunchResult:
    """What a launch ended with.

    Attributes:
        study: Name of the study.
        finished: Finished trials of all stages.
        trials: Trials that all stages are to end with.
        best: The best complete trial of the last stage that has one, or None.
        stage: The stage it belongs to.
        facts: What is known of the best trial: its best epoch, its run, its checkpoint.
        first: The first trial of the first stage, or None.
        endings: How many trials ended in which way: complete, pruned, diverged, failed.
        seconds: Time that all trials together have trained and validated.
        metric: What was optimised.
        storage: URL of Optuna's storage, its password masked.
        tracking: URI of MLflow, its password masked.
    """

    study: str
    finished: int
    trials: int
    best: optuna.trial.FrozenTrial | None
    stage: str | None
    facts: dict[str, Any]
    first: optuna.trial.FrozenTrial | None
    endings: dict[str, int]
    seconds: float
    metric: str
    storage: str
    tracking: str

    @property
    def complete(self) -> bool:
        """Whether all the trials are finished."""
        return self.finished >= self.trials


def launch(
    study: Study | str,
    *,
    emit: Emit = ignore,
    interruption: Interruption | None = None,
    **options: Any,
) -> LaunchResult:
    """Launches a study, or goes on with it where it is stored.

    Args:
        study: A study, or what names one: a name, or the path of a study file.
        emit: Hears what happens, one ``Event`` each.
        interruption: Asks for an early end; on Ctrl-C without one, the current epoch is lost
            and the rest is kept.
        options: Fields of ``LaunchOptions``: ``trials=20, workers=2, storage=...``.

    Raises:
        UserError: If anything is wrong that the user can put right; before any trial runs,
            where that can be known before.
    """
    given = LaunchOptions(**options)
    loaded = load_study(study) if isinstance(study, str) else None
    prepared = Preparation(
        loaded.study if loaded else study,  # type: ignore[arg-type] # a str has been loaded
        loaded,
        given,
        emit,
    )
    interruption = interruption or Interruption()
    stages = [store_stage(prepared, plan) for plan in prepared.plans]
    for plan, optuna_study in stages:
        if interruption.requested or not _run_stage(prepared, plan, optuna_study, interruption):
            break
    return _result(prepared, stages)


def _run_stage(
    prepared: Preparation, plan: Plan, optuna_study: optuna.Study, interruption: Interruption
) -> bool:
    """Runs a stage to its end; False if it was ended before."""
    leases = Leases(prepared.storage, owner_name())

    def finished() -> int:
        return count(optuna_study, leases).finished

    best = best_trial(optuna_study)
    prepared.emit(
        Event(
            "stage",
            {
                "study": plan.study,
                "stage": plan.stage,
                "trials": plan.trials,
                "finished": finished(),
                "epochs": plan.epochs,
                "metric": plan.metric,
                "direction": plan.direction,
                "workers": prepared.workers,
                "best": best.value if best else None,
            },
        )
    )
    open_stage_run(prepared.tracker, plan)
    try:
        if finished() < plan.trials:
            run_workers(
                _orders(prepared, plan),
                prepared.workers,
                study=prepared.study,
                data=prepared.data,
                emit=prepared.emit,
                interruption=interruption,
                is_done=lambda: finished() >= plan.trials,
            )
    except (UserError, KeyboardInterrupt):
        # What went wrong may be what this needs too, and is the more interesting.
        with contextlib.suppress(UserError, StorageInternalError, SQLAlchemyError):
            _close(prepared, plan, optuna_study, done=False)
        raise
    done = finished() >= plan.trials
    _close(prepared, plan, optuna_study, done=done)
    return done


def _close(prepared: Preparation, plan: Plan, optuna_study: optuna.Study, *, done: bool) -> None:
    close_stage_run(prepared.tracker, plan, note=stage_story(plan, optuna_study), done=done)


def _orders(prepared: Preparation, plan: Plan) -> Orders:
    return Orders(
        reference=plan.reference if prepared.loaded else None,
        name=plan.study,
        stage=plan.stage,
        storage=prepared.storage_url,
        tracking_uri=prepared.tracker.uri,
        artifacts=prepared.tracker.location.artifacts,
        data_directory=prepared.options.data_directory,
        settings=prepared.options.settings,
    )


def _result(prepared: Preparation, stages: list[tuple[Plan, optuna.Study]]) -> LaunchResult:
    leases = Leases(prepared.storage, owner_name())
    best, stage = None, None
    for plan, optuna_study in stages:
        found = best_trial(optuna_study)
        if found is not None:
            best, stage = found, plan.stage
    trials = [trial for _, optuna_study in stages for trial in optuna_study.get_trials()]
    return LaunchResult(
        study=prepared.study.name,
        finished=sum(count(optuna_study, leases).finished for _, optuna_study in stages),
        trials=sum(plan.trials for plan, _ in stages),
        best=best,
        stage=stage,
        facts=best.user_attrs.get(ATTRIBUTE, {}) if best else {},
        first=trials[0] if trials else None,
        endings=dict(Counter(ending_of(trial) for trial in trials if trial.state.is_finished())),
        seconds=sum(trial.user_attrs.get(ATTRIBUTE, {}).get("seconds", 0.0) for trial in trials),
        metric=stages[0][0].metric,
        storage=mask(prepared.storage_url),
        tracking=prepared.tracker.masked_uri,
    )
