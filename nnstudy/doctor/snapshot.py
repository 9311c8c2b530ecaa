"""A study at one moment, as Optuna, MLflow and the disk have it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from nnstudy.doctor.finding import Finding
from nnstudy.errors import UserError
from nnstudy.search.delivery import undelivered
from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.leases import LeaseInfo, Leases
from nnstudy.search.plan import Plan
from nnstudy.search.settings import Settings
from nnstudy.search.stored import StoredStage, require_stages
from nnstudy.tracking import Location, Tracker

if TYPE_CHECKING:
    from mlflow.entities import Run

_KEY_TAG = "nnstudy.key"
_PAGE = 1000
_TRIAL_DIRECTORY = re.compile(r"trial-(\d+)(?:\.(\d+))?", re.ASCII)


@dataclass(frozen=True)
class Sides:
    """What is compared.

    Attributes:
        name: Name of the study.
        storage: Optuna's storage.
        tracker: MLflow; None where it cannot be reached.
        settings: Where checkpoints are.
        away: Says what cannot be reached.
    """

    name: str
    storage: RDBStorage
    tracker: Tracker | None
    settings: Settings
    away: list[Finding] = field(default_factory=list)

    @cached_property
    def leases(self) -> Leases:
        """The leases of the storage."""
        return Leases(self.storage, "doctor")

    def is_held(self, trial: FrozenTrial) -> bool:
        """Tells whether a worker holds a trial at this moment."""
        return trial._trial_id in self.leases.held()

    @property
    def mlflow(self) -> Tracker:
        """MLflow, where it is known to be there."""
        assert self.tracker is not None
        return self.tracker


@dataclass(frozen=True)
class StageSnapshot:
    """A stage at one moment.

    Attributes:
        stored: Its plan and its Optuna study.
        trials: Its trials, by number.
        leases: All leases of the database, by trial id.
        runs: The active runs of each trial, by number, the earliest first; None
            where MLflow cannot be reached.
        deleted: Likewise those that were deleted in MLflow, which can be restored.
        stage_run: The run of the stage itself, deleted or not.
        directories: The directories of each trial's checkpoints, by number.
        owed: The last states of finished trials that MLflow lacks something of, by number.
    """

    stored: StoredStage
    trials: list[FrozenTrial]
    leases: dict[int, LeaseInfo]
    runs: dict[int, list[Run]] | None
    deleted: dict[int, list[Run]]
    stage_run: Run | None
    directories: dict[int, list[Path]]
    owed: dict[int, Path]

    @property
    def plan(self) -> Plan:
        """The stage's plan."""
        return self.stored.plan

    @property
    def finished(self) -> list[FrozenTrial]:
        """The finished trials that were worked on by this package."""
        return [
            trial
            for trial in self.trials
            if trial.state.is_finished() and (facts(trial) or trial._trial_id in self.leases)
        ]

    @property
    def running(self) -> list[FrozenTrial]:
        """The trials that somebody began."""
        return [trial for trial in self.trials if trial.state is TrialState.RUNNING]

    def is_held(self, trial: FrozenTrial) -> bool:
        """Tells whether a worker held a trial at that moment."""
        lease = self.leases.get(trial._trial_id)
        return lease is not None and lease.expires_in_seconds > 0

    @property
    def is_worked_on(self) -> bool:
        """Tells whether anybody worked on the stage at that moment."""
        return any(self.is_held(trial) for trial in self.running)

    def runs_of(self, trial: FrozenTrial) -> list[Run]:
        """Returns a trial's active runs, the one that Optuna names first."""
        runs = (self.runs or {}).get(trial.number, [])
        return sorted(runs, key=lambda run: run.info.run_id != facts(trial).get("run_id"))

    def directory(self, trial: FrozenTrial) -> Path | None:
        """Returns which of a trial's directories is the one of the worker that ended it."""
        there = {path.name: path for path in self.directories.get(trial.number, [])}
        place = facts(trial).get("checkpoint") or ""
        lease = self.leases.get(trial._trial_id)
        bare = f"trial-{trial.number:05d}"
        names = [Path(place).parent.name, f"{bare}.{lease.token}" if lease else bare, bare]
        return next((there[name] for name in names if name in there), None)


def facts(trial: FrozenTrial) -> dict[str, Any]:
    """Returns what is known of a finished trial, besides what Optuna keeps of any trial."""
    found: dict[str, Any] = trial.user_attrs.get(ATTRIBUTE, {})
    return found


def open_sides(
    name: str,
    storage: RDBStorage,
    tracking_uri: str | None,
    artifacts: str | None,
    settings: Settings,
) -> Sides:
    """Opens MLflow, without making anything where there is none.

    Raises:
        UserError: If no such study is stored.
    """
    stages = require_stages(storage, name)
    away: list[Finding] = []
    tracker: Tracker | None = None
    try:
        location = Location.resolve(tracking_uri, artifacts)
        if location.sqlite_file and not location.sqlite_file.is_file():
            raise UserError(f"there is no database {location.sqlite_file}")
        tracker = Tracker(tracking_uri, artifacts)
        _require_experiment(tracker, stages[0].plan)
    except UserError as error:
        tracker = None
        away.append(
            Finding("away", "", None, f"MLflow is not compared: {error} (see --tracking-uri)")
        )
    directory = settings.checkpoints / name
    if not directory.is_dir() and any(map(_keeps_files, stages)):
        away.append(
            Finding(
                "away",
                "",
                None,
                f"checkpoints are looked for only where Optuna names them: there is no directory"
                f" {directory.absolute()} (see --checkpoints)",
            )
        )
    return Sides(name, storage, tracker, settings, away)


def take_snapshots(sides: Sides) -> Iterator[StageSnapshot]:
    """Yields what there is of each stage, stage by stage.

    Disk and MLflow are looked at before Optuna: what a worker begins in the meantime then has
    a trial for certain.
    """
    stages = require_stages(sides.storage, sides.name)
    directories = {
        stage.plan.stage: trial_directories(stage.plan.checkpoints(sides.settings.checkpoints))
        for stage in stages
    }
    runs = all_runs(sides.tracker, stages[0].plan.experiment_id) if sides.tracker else None
    leases = sides.leases.all()
    for stage in stages:
        plan = stage.plan
        active, deleted, stage_run = _sort(runs or [], plan)
        yield StageSnapshot(
            stored=stage,
            trials=stage.optuna_study.get_trials(deepcopy=False),
            leases=leases,
            runs=None if runs is None else active,
            deleted=deleted,
            stage_run=stage_run,
            directories=directories[plan.stage],
            owed={
                trial.number: file
                for trial, file in undelivered(plan, stage.optuna_study, sides.settings)
            },
        )


def all_runs(tracker: Tracker, experiment_id: str) -> list[Run]:
    """Returns all runs of an experiment, deleted ones too, the earliest first."""
    from mlflow.entities import ViewType

    found: list[Run] = []
    token: str | None = None
    while token is not None or not found:
        page = tracker.client.search_runs(
            [experiment_id],
            run_view_type=ViewType.ALL,
            max_results=_PAGE,
            order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
            page_token=token,
        )
        found += page
        token = page.token
        if not token:
            break
    return found


def key_of(run: Run) -> str:
    """Returns what tells a run's trial or stage from all others; empty for a stranger's run."""
    return str(run.data.tags.get(_KEY_TAG, ""))


def _sort(
    runs: list[Run], plan: Plan
) -> tuple[dict[int, list[Run]], dict[int, list[Run]], Run | None]:
    active: dict[int, list[Run]] = defaultdict(list)
    deleted: dict[int, list[Run]] = defaultdict(list)
    stage_run = None
    for run in runs:
        key = key_of(run)
        gone = run.info.lifecycle_stage == "deleted"
        if key == plan.key:
            stage_run = run if stage_run is None or not gone else stage_run
        head, _, number = key.rpartition("/")
        if head == plan.key and number.isdecimal():
            (deleted if gone else active)[int(number)].append(run)
    return dict(active), dict(deleted), stage_run


def trial_directories(stage: Path) -> dict[int, list[Path]]:
    """Returns the directories of checkpoints in that of a stage, by number of the trial."""
    found: dict[int, list[Path]] = defaultdict(list)
    for path in sorted(stage.glob("trial-*")):
        match = _TRIAL_DIRECTORY.fullmatch(path.name)
        if match and path.is_dir():
            found[int(match[1])].append(path)
    return dict(found)


def _require_experiment(tracker: Tracker, plan: Plan) -> None:
    """Raises UserError unless MLflow is the one that the study was launched with."""
    from mlflow.exceptions import MlflowException

    try:
        experiment = tracker.client.get_experiment(plan.experiment_id)
    except MlflowException as error:
        if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
            raise UserError(tracker.location.scrub(error)) from None
        experiment = None
    if experiment is None or experiment.name != plan.study:
        raise UserError(f"{tracker.masked_uri} has no experiment of study {plan.study!r}")


def _keeps_files(stage: StoredStage) -> bool:
    """Tells whether a stage's trials have checkpoints as files, not as artifacts."""
    places = (
        facts(trial).get("checkpoint") or ""
        for trial in stage.optuna_study.get_trials(deepcopy=False)
    )
    return any(place and not place.startswith("runs:/") for place in places)
