"""What MLflow is told of a trial: at once where it can be, else later, in order and once.

What is told can be made again at any time from what is kept elsewhere: parameters and ending
from Optuna's storage, curves with their original time stamps from the trial's checkpoint. And
telling MLflow something twice leaves it there once. So nothing else is stored of what it has
missed: a finished trial whose checkpoint for going on is still there is one that MLflow does
not have the whole of.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from nnstudy.search.endings import ATTRIBUTE, STATUSES
from nnstudy.search.judging import verdict_note, verdict_tags
from nnstudy.search.keeping import trial_directory
from nnstudy.search.locks import LOCK_TIMEOUT, study_lock
from nnstudy.search.patience import Patience, is_away
from nnstudy.search.plan import Plan
from nnstudy.search.settings import Settings
from nnstudy.search.tracked import (
    Curves,
    best_curves,
    curves_of_repeat,
    milliseconds,
    open_trial_run,
)
from nnstudy.tracking import Tracker, TrackingAway, TrialRun
from nnstudy.training import Record
from nnstudy.training.checkpoints import CheckpointError, CheckpointName, read
from nnstudy.training.repeated import curves_in

MLFLOW = "MLflow"
_OWN = Curves()


class Delivery:
    """Tells MLflow of a trial that is trained now.

    Args:
        tracker: MLflow.
        plan: The trial's stage.
        trial: The trial.
        device: Where it is trained.
        patience: What to do where MLflow is away.
        taken_over: Whether earlier workers may have told MLflow of it.

    Attributes:
        run: The trial's run, once it could be opened.
    """

    def __init__(
        self,
        tracker: Tracker,
        plan: Plan,
        trial: optuna.Trial,
        device: str,
        patience: Patience,
        *,
        taken_over: bool,
    ) -> None:
        self.run: TrialRun | None = None
        self._tracker = tracker
        self._plan = plan
        self._trial = trial
        self._device = device
        self._patience = patience
        self._taken_over = taken_over
        self._waiting: list[tuple[Curves, Record]] = []
        self._told = _Told()

    def open(self) -> TrialRun | None:
        """Opens the run where it is not yet open; None where MLflow is away."""
        if self.run is None:
            self.run = self._patience.attempt(MLFLOW, self.require)
        return self.run

    def require(self) -> TrialRun:
        """Returns the run.

        Raises:
            TrackingAway: MLflow cannot be reached.
        """
        if self.run is None:
            run = open_trial_run(
                self._tracker,
                self._plan,
                self._trial,
                device=self._device,
                threads=torch.get_num_threads(),
            )
            if self._taken_over:
                self._told = _Told(run)
                self._told.of(_OWN)
            self.run = run
        return self.run

    def add(self, records: Sequence[Record], curves: Curves = _OWN) -> None:
        """Adds records to what is to be told, of the trial or of one of its trainings."""
        self._waiting += [(curves, record) for record in records]

    def start_again(self) -> None:
        """Forgets what waits; steps that MLflow has of an earlier start stay as they are."""
        self._waiting.clear()

    def flush(self) -> bool:
        """Tells what waits, unless MLflow is away.

        Returns:
            False where something still waits.
        """
        run = self.open()
        if run is None:
            return False
        return self._log(run) and run.flush()

    def _log(self, run: TrialRun) -> bool:
        """Hands over what waits; False where it cannot be looked up what MLflow has already."""
        for curves in {curves.every_step: curves for curves, _ in self._waiting}.values():
            look_up = partial(self._told.of, curves)
            if not self._told.knows(curves) and self._patience.attempt(MLFLOW, look_up) is None:
                return False
        _log(run, self._waiting, self._told)
        self._waiting.clear()
        return True

    def show(self, name: str, image: NDArray[np.uint8], step: int) -> None:
        """Shows a picture in the run; where MLflow is away now, there is one less."""
        if self.run is not None:
            self.run.log_image(name, image, step=step)

    def finish(self, facts: Mapping[str, Any], best: Record | None) -> bool:
        """Tells what waits, and how the trial ended.

        Returns:
            False where MLflow lacks something: see ``deliver_late``.
        """
        run = self.open()
        if run is None or not self._log(run):
            return False
        return _finish(run, self._plan, facts, best, self._told)


def deliver_late(
    storage: RDBStorage,
    tracker: Tracker,
    plan: Plan,
    study: optuna.Study,
    settings: Settings,
    *,
    timeout: float = LOCK_TIMEOUT,
) -> list[int]:
    """Tells MLflow what it missed of finished trials.

    Args:
        storage: Optuna's storage.
        tracker: MLflow.
        plan: The stage.
        study: The stage's Optuna study.
        settings: Where checkpoints are.
        timeout: Seconds to wait while another process delivers.

    Returns:
        Numbers of the trials that MLflow has the whole of now.

    Raises:
        TrackingAway: MLflow cannot be reached.
        LockStuck: Another process delivers.
    """
    if not undelivered(plan, study, settings):
        return []
    # Two that open a run at once would make two.
    with study_lock(storage, f"{plan.study} delivery", timeout=timeout):
        owed = undelivered(plan, study, settings)
        for trial, file in owed:
            _deliver(tracker, plan, trial, file)
            file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it has weights in it
                file.parent.rmdir()
        return [trial.number for trial, _ in owed]


def undelivered(
    plan: Plan, study: optuna.Study, settings: Settings
) -> list[tuple[FrozenTrial, Path]]:
    """Returns the finished trials that MLflow lacks something of, each with its curves' file."""
    last = str(CheckpointName("last"))
    files = {
        directory: directory / last
        for directory in plan.checkpoints(settings.checkpoints).glob("trial-*")
        if (directory / last).is_file()
    }
    if not files:
        return []
    return [
        (trial, files[directory])
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished() and ATTRIBUTE in trial.user_attrs
        for token in [trial.user_attrs[ATTRIBUTE].get("token", 1)]
        for directory in [trial_directory(plan, settings, trial.number, token)]
        if directory in files
    ]


def _deliver(tracker: Tracker, plan: Plan, trial: FrozenTrial, file: Path) -> None:
    facts = trial.user_attrs[ATTRIBUTE]
    try:
        state, _ = read(file)
        history = [Record.from_dict(fields) for fields in state["history"]]
        names, repeats = curves_in(state)
    except (CheckpointError, KeyError) as error:
        if is_away(error):
            raise
        history, names, repeats = [], set(), []
    run = open_trial_run(tracker, plan, trial, threads=facts["threads"])
    told = _Told(run)
    _log(run, [(_OWN, record) for record in history], told)
    for number, records in enumerate(repeats):
        own = curves_of_repeat(plan, number, names)
        _log(run, [(own, record) for record in records], told)
    best = next((r for r in history if r.epoch == facts["best_epoch"]), None)
    ended = milliseconds(trial.datetime_complete)
    if not _finish(run, plan, facts, best, told, ended_ms=ended):
        raise TrackingAway(f"MLflow at {tracker.masked_uri} cannot be written to")


class _Told:
    """Which steps MLflow has of a trial already, and of when, looked up where they are needed.

    Args:
        run: The trial's run, where another worker may have told of it; None: nobody has.
    """

    def __init__(self, run: TrialRun | None = None) -> None:
        self._run = run
        self._steps: dict[str, dict[int, int]] = {}

    def knows(self, curves: Curves) -> bool:
        """Tells whether nothing has to be looked up."""
        return self._run is None or curves.every_step in self._steps

    def of(self, curves: Curves) -> Mapping[int, int]:
        """Returns the time stamps by step.

        Raises:
            TrackingAway: MLflow cannot be reached.
        """
        if self._run is None:
            return {}
        if curves.every_step not in self._steps:
            self._steps[curves.every_step] = self._run.steps(curves.every_step)
        return self._steps[curves.every_step]


def _log(run: TrialRun, records: Sequence[tuple[Curves, Record]], told: _Told) -> None:
    """Adds curves to a run, but for steps that it has of another start of the trial.

    Told with another time stamp, a step would be there twice, and tear the curve.
    """
    for curves, record in records:
        if told.of(curves).get(record.step, record.timestamp) == record.timestamp:
            run.log(curves.of(record), step=record.step, timestamp=record.timestamp)


def _finish(
    run: TrialRun,
    plan: Plan,
    facts: Mapping[str, Any],
    best: Record | None,
    told: _Told,
    *,
    ended_ms: int | None = None,
) -> bool:
    # An earlier worker may have told of this very end, and died before Optuna was told.
    best_at = told.of(_OWN).get(best.step, best.timestamp) if best else None
    if note := verdict_note(facts):
        run.set_note(note)
    delivered = run.finish(
        STATUSES[facts["ended"]],
        tags={
            "nnstudy.state": facts["ended"],
            "nnstudy.reason": facts["reason"],
            **verdict_tags(facts),
        },
        best=best_curves(best, plan.metric),
        best_at=best_at,
        ended_ms=ended_ms,
    )
    if facts["traceback"]:
        run.log_text(facts["traceback"], "traceback.txt")
    return delivered
