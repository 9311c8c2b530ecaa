"""Workers on stages that are stored, until these are done or an end is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from nnstudy.engines import local, on_ray
from nnstudy.engines.preparation import Preparation
from nnstudy.engines.ray_cluster import RayCluster
from nnstudy.errors import UserError
from nnstudy.search.budget import count
from nnstudy.search.delivery import deliver_late
from nnstudy.search.events import Event
from nnstudy.search.extension import crowded
from nnstudy.search.interruption import Interruption
from nnstudy.search.leases import Leases
from nnstudy.search.locks import LockStuck
from nnstudy.search.plan import Plan
from nnstudy.search.stage_budget import stage_budget
from nnstudy.search.stored import StoredStage, stored_stages
from nnstudy.search.tracked import close_stage_run
from nnstudy.search.worker import worker_name
from nnstudy.tracking import TrackingAway
from nnstudy.training.checkpoints import CheckpointError


def run_stages(
    prepared: Preparation,
    stages: list[tuple[Plan, optuna.Study]],
    interruption: Interruption,
    cluster: RayCluster | None,
) -> Progress:
    """Runs workers on stored stages, tells MLflow what it missed and ends the stages' runs.

    Args:
        prepared: The study and its surroundings; workers are told of its plans.
        stages: What to work on, as stored.
        interruption: Asks for an early end.
        cluster: The Ray that runs the workers, or None.
    """
    plans = [plan for plan, _ in stages]
    progress = Progress(prepared.storage, plans[0].study, {plan.declared for plan in plans})
    try:
        with interruption.after(prepared.options.timeout):
            if not interruption.requested and not progress.is_done():
                _run_workers(prepared, interruption, progress, cluster)
    finally:
        # What went wrong may be what this needs too, and is the more interesting.
        with contextlib.suppress(UserError, StorageInternalError, SQLAlchemyError):
            now = progress.stages()
            _deliver_rest(prepared, now)
            _close_stages(prepared, now, progress)
    return progress


class Progress:
    """How far a study is.

    Args:
        storage: Optuna's storage.
        study: Name of the study.
        declared: Names of those of its stages that matter, each with those that widen its ranges.
    """

    def __init__(self, storage: RDBStorage, study: str, declared: Collection[str]) -> None:
        self._storage = storage
        self._study = study
        self._declared = declared
        self._leases = Leases(storage, worker_name())

    def stages(self) -> list[tuple[Plan, optuna.Study]]:
        """Returns the stages as workers have left them: opened, with ranges, and with more."""
        return [(stage.plan, stage.optuna_study) for stage in self._stored()]

    def is_done(self) -> bool:
        """Tells whether every stage has come to its end, and none is to be gone on with.

        A database that is away does not say.
        """
        try:
            stages = self._stored()
            return all(self.is_stage_done(stage.optuna_study) for stage in stages) and not any(
                crowded(stages, stage.plan.stage) for stage in stages
            )
        except (StorageInternalError, SQLAlchemyError):
            return False

    def is_stage_done(self, study: optuna.Study) -> bool:
        """Tells whether a stage has come to its end."""
        return stage_budget(self._storage, study).is_spent(count(study, self._leases))

    def is_flat(self, study: optuna.Study) -> bool:
        """Tells whether a stage has ended because its last trials have improved nothing."""
        counts = count(study, self._leases)
        budget = stage_budget(self._storage, study)
        return counts.finished < budget.trials and budget.is_flat(counts)

    def is_worked_on(self, study: optuna.Study) -> bool:
        """Tells whether a worker, wherever it is, has a trial of a stage."""
        return count(study, self._leases).running > 0

    def _stored(self) -> list[StoredStage]:
        stages = stored_stages(self._storage, self._study)
        return [stage for stage in stages if stage.plan.declared in self._declared]

    def expire(self, owner: str) -> None:
        """Ends the leases of a dead worker; where the database is away they run out."""
        with contextlib.suppress(StorageInternalError, SQLAlchemyError):
            self._leases.expire(owner)


def _run_workers(
    prepared: Preparation,
    interruption: Interruption,
    progress: Progress,
    cluster: RayCluster | None,
) -> None:
    orders = prepared.orders()
    if cluster is not None:
        on_ray.run_workers(
            orders,
            prepared.workers,
            cluster=cluster,
            study=prepared.study,
            sources=prepared.sources,
            emit=prepared.emit,
            interruption=interruption,
            expire=progress.expire,
        )
        return
    if prepared.race:
        local.run_stages(
            orders,
            [plan.stage for plan in prepared.plans],
            prepared.workers,
            study=prepared.study,
            data=prepared.data,
            emit=prepared.emit,
            interruption=interruption,
            is_done=progress.is_done,
            expire=progress.expire,
        )
        return
    local.run_workers(
        orders,
        prepared.workers,
        study=prepared.study,
        data=prepared.data,
        emit=prepared.emit,
        interruption=interruption,
        is_done=progress.is_done,
        expire=progress.expire,
    )


def _deliver_rest(prepared: Preparation, stages: list[tuple[Plan, optuna.Study]]) -> None:
    """Tells MLflow what it missed; where it is still away, says how it will get it."""
    for plan, optuna_study in stages:
        try:
            deliver_late(
                prepared.storage, prepared.tracker, plan, optuna_study, prepared.options.settings
            )
        except (TrackingAway, CheckpointError, LockStuck) as error:
            text = (
                f"{error}. It lacks some trials of stage {plan.stage!r}, which are kept: the next"
                f" launch tells it, or nnstudy doctor {plan.study} --fix"
            )
            prepared.emit(Event("warning", {"text": text}))


def _close_stages(
    prepared: Preparation, stages: list[tuple[Plan, optuna.Study]], progress: Progress
) -> None:
    """Ends the runs of the stages that this launch leaves unfinished, and nobody works on."""
    for plan, optuna_study in stages:
        done = progress.is_stage_done(optuna_study)
        begun = bool(optuna_study.get_trials(deepcopy=False))
        if begun and not progress.is_worked_on(optuna_study):
            close_stage_run(prepared.tracker, plan, optuna_study, done=done)
