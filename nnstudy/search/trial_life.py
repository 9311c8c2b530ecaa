"""One trial's life, top to bottom: build, train, observe, report, keep, tell."""

from __future__ import annotations

import logging
import math
import time
import traceback
import zlib
from dataclasses import dataclass
from typing import Literal

import optuna
import torch
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from nnstudy.data import Data
from nnstudy.diagnostics import UpdateRatioMonitor
from nnstudy.errors import UserError
from nnstudy.search import requests
from nnstudy.search.events import Emit, Event
from nnstudy.search.heartbeat import heartbeat
from nnstudy.search.interruption import Interruption
from nnstudy.search.keeping import Uploads, free_disk, trial_directory
from nnstudy.search.leases import Lease
from nnstudy.search.plan import Plan
from nnstudy.search.reporting import is_reported, last_reported
from nnstudy.search.settings import Settings
from nnstudy.search.tracked import open_trial_run
from nnstudy.study import Study
from nnstudy.study.building import build_training
from nnstudy.tracking import Tracker
from nnstudy.training import Diverged, Record, Training
from nnstudy.training.checkpoints import CheckpointError, Keeper, read
from nnstudy.training.own_loop import OwnTraining
from nnstudy.training.seeds import seed_everything

_LOG = logging.getLogger(__name__)
_SYNC_SECONDS = 1.0
_SHOW_SECONDS = 0.2
ATTRIBUTE = "nnstudy"

Status = Literal["FINISHED", "KILLED", "FAILED"]


@dataclass(frozen=True)
class StageWork:
    """What a worker needs to run the trials of a stage.

    Attributes:
        study: The study, from its file.
        plan: The stage as it is stored.
        storage: Optuna's storage.
        optuna_study: The stage's Optuna study, with its sampler and pruner.
        data: The data of the study.
        tracker: MLflow.
        settings: Device, places and rules of this process.
        emit: Hears what happens.
        interruption: Asks for an early end.
    """

    study: Study
    plan: Plan
    storage: RDBStorage
    optuna_study: optuna.Study
    data: Data
    tracker: Tracker
    settings: Settings
    emit: Emit
    interruption: Interruption


@dataclass(frozen=True)
class Ending:
    """How a trial ended.

    Attributes:
        state: Optuna's state.
        status: MLflow's status.
        reason: Why, in words.
        label: One word for tables: complete, pruned, diverged or failed.
        traceback: Of a failed trial.
    """

    state: TrialState
    status: Status
    reason: str
    label: str
    traceback: str = ""


class Interrupted(Exception):
    """The trial was left running, to be continued later."""


class LeaseLost(Exception):
    """Another worker has the trial now; whatever is done here is in vain."""


class TrialLife:
    """A trial from its first question to its last word.

    Args:
        trial: New, or one that another process began.
        lease: The right to work on it.
        work: The stage and its surroundings.
    """

    def __init__(self, trial: optuna.Trial, lease: Lease, work: StageWork) -> None:
        self.trial = trial
        self.lease = lease
        self.work = work
        self.number = trial.number
        self.seed = (work.plan.seed, zlib.crc32(work.plan.stage.encode()), trial.number)
        self.training: Training | OwnTraining | None = None
        self.best: Record | None = None
        self.uploads: Uploads | None = None
        self._monitor: UpdateRatioMonitor | None = None
        self._reported = max(
            trial.study._storage.get_trial(trial._trial_id).intermediate_values, default=0
        )
        self._undelivered: list[Record] = []
        self._synced = time.monotonic()
        self._shown = -math.inf

    def live(self) -> Ending | None:
        """Runs the trial to its end.

        Returns:
            How it ended; None if another worker took it over meanwhile.

        Raises:
            Interrupted: The trial was left running, with all saved, as was asked for.
        """
        with heartbeat(self.lease, self._progress):
            try:
                ending = self._train()
            except LeaseLost:
                return None
            except Diverged as divergence:
                ending = self._diverged(divergence)
            except optuna.TrialPruned as pruned:
                ending = Ending(TrialState.PRUNED, "KILLED", str(pruned) or "pruned", "pruned")
            except CheckpointError:
                # Not the trial's fault: it stays as its last checkpoint has it.
                self.lease.release()
                raise
            except (Interrupted, KeyboardInterrupt):
                self.lease.release()
                raise
            except Exception as error:
                ending = _failed(error)
            return self._tell(ending)

    # -- Building ---------------------------------------------------------------------------

    def _train(self) -> Ending:
        self.keeper = self._make_keeper()
        try:
            self.training = self._build()
        finally:
            # Also a recipe that raised has asked for values, which are worth a run.
            self.run = open_trial_run(self.work, self.trial)
        self.uploads = Uploads(self.keeper, self.run) if self.work.settings.upload else None
        self._continue(self.training)
        self._emit_start()
        self._attach_monitor()
        for record in self.training:
            self._observe(record)
            if self._is_pruned(record):
                return Ending(
                    TrialState.PRUNED, "KILLED", f"pruned at epoch {record.epoch:g}", "pruned"
                )
            if time.monotonic() - self._synced >= _SYNC_SECONDS:
                self._sync()
                if requests.is_trial_stopped(self.work.optuna_study, self.number):
                    return self._complete("stopped on request")
            if self._must_leave():
                self._save()
                raise Interrupted
        return self._complete(self.training.ended or "ended")

    def _build(self) -> Training | OwnTraining:
        """Asks the recipe what to train; the seed is set before, so weights are the trial's."""
        plan, study = self.work.plan, self.work.study
        seed_everything(*self.seed)
        recipe = study.recipe(self.trial, self.work.data)
        conditions = plan.conditions(self.work.settings.device)
        return build_training(recipe, study, self.work.data, conditions, seed=self.seed)

    def _make_keeper(self) -> Keeper:
        plan, settings = self.work.plan, self.work.settings
        return Keeper(
            trial_directory(plan, settings, self.number),
            direction=plan.direction,
            best=settings.keep_best,
            spaced=settings.keep_every,
            interval=math.inf,  # written when the records are, see _sync
            metadata={
                "study": plan.study,
                "stage": plan.stage,
                "trial": str(self.number),
                "data": plan.data["digest"],
            },
        )

    def _continue(self, training: Training | OwnTraining) -> None:
        """Goes on from the last checkpoint, if there is one that can be read."""
        if self.uploads:
            self.uploads.fetch_last()
        path = self.keeper.last_path
        if path is None or not path.exists():
            return
        if isinstance(training, OwnTraining) and not training.continuable:
            self._say(f"trial {self.number} has a loop without a state and starts again")
            return
        try:
            state, _ = read(path)
            training.load_state_dict(state)
        except CheckpointError as error:
            self._say(f"trial {self.number} starts again: {error}")
            return
        for record in training.history:
            self._rate(record)
        # Delivered once more, with their first time stamps: what was written already stays
        # as it is, what was lost on the way is filled in.
        self._undelivered = list(training.history)

    def _attach_monitor(self) -> None:
        if isinstance(self.training, Training):
            self._monitor = UpdateRatioMonitor(
                self.training.network,
                self.training.optimizer,
                steps_per_epoch=self.training.budget.interval,
            )

    # -- At each validation -----------------------------------------------------------------

    def _observe(self, record: Record) -> None:
        if self._monitor:
            record.values |= self._monitor.values()
        score = self._rate(record)
        assert self.training is not None
        network, average = self.training.network, self.training.average
        if network is not None:
            self.keeper.record(
                record,
                score,
                network.state_dict,
                average.network.state_dict if average else None,
                self.training.state_dict if self._continuable else None,
                average_score=record.values.get(f"{self.work.plan.metric}_average"),
            )
        self._undelivered.append(record)
        if time.monotonic() - self._shown >= _SHOW_SECONDS:
            self._shown = time.monotonic()
            self._emit_epoch(record, score)

    @property
    def _continuable(self) -> bool:
        return not isinstance(self.training, OwnTraining) or self.training.continuable

    def _rate(self, record: Record) -> float:
        """Returns the record's score and remembers the best record."""
        score = self._score(record)
        if self.best is None or self._is_better(score, self._score(self.best)):
            self.best = record
        return score

    def _score(self, record: Record) -> float:
        metric = self.work.plan.metric
        if metric not in record.values:
            raise UserError(
                f"the metric {metric!r} is not among the values of an epoch:"
                f" {', '.join(sorted(record.values))}. Set Study(metric=...) to one of them"
            )
        return record.values[metric]

    def _is_better(self, score: float, other: float) -> bool:
        return score > other if self.work.plan.direction == "maximize" else score < other

    def _is_pruned(self, record: Record) -> bool:
        """Reports the best so far, which keeps early-stopped curves comparable, and asks."""
        if record.step <= self._reported or not is_reported(record.step, self._last_step):
            return False
        assert self.best is not None
        self.trial.report(self._score(self.best), record.step)
        self._reported = record.step
        return record.step < self._last_step and self.trial.should_prune()

    @property
    def _last_step(self) -> int:
        if isinstance(self.training, Training):
            return self.training.budget.validations
        return math.ceil(self.work.plan.epochs)

    def _must_leave(self) -> bool:
        return self.work.interruption.requested

    # -- Saving -----------------------------------------------------------------------------

    def _sync(self) -> None:
        """Writes what is due: the checkpoint first, which holds what MLflow gets after it."""
        self._require_lease()
        self.keeper.flush()
        self._deliver()
        if self.uploads:
            self.uploads.sync()
        self._synced = time.monotonic()
        if requests.is_study_stopped(self.work.optuna_study):
            self.work.interruption.requested = True

    def _save(self) -> None:
        self._require_lease()
        self.keeper.flush()
        self._deliver()
        if self.uploads:
            self.uploads.save()

    def _deliver(self) -> None:
        for record in self._undelivered:
            self.run.log(_curves(record), step=record.step, timestamp=record.timestamp)
        self._undelivered.clear()
        self.run.flush()

    def _require_lease(self) -> None:
        if not self.lease.valid():
            raise LeaseLost

    # -- Endings ----------------------------------------------------------------------------

    def _complete(self, reason: str) -> Ending:
        if self.best is None:
            raise UserError("the training yielded no epoch")
        return Ending(TrialState.COMPLETE, "FINISHED", reason, "complete")

    def _diverged(self, divergence: Diverged) -> Ending:
        """A diverged trial is PRUNED at the worst value, so that the sampler learns from it."""
        step = len(self.training.history) + 1 if self.training else 1
        self.trial.report(math.nan, last_reported(step, self._last_step) or step)
        return Ending(TrialState.PRUNED, "FAILED", f"diverged: {divergence}", "diverged")

    def _tell(self, ending: Ending) -> Ending | None:
        """Everything before ``tell`` may be done twice, so a crash in between does no harm."""
        if not self.lease.valid():
            return None
        self.keeper.flush()
        self._deliver()
        value = self._score(self.best) if self.best else None
        seconds = self.training.seconds if self.training else 0.0
        best = self.keeper.best_path
        uploaded = self.uploads.finish() if self.uploads else None
        facts = {
            "version": 1,
            "ended": ending.label,
            "reason": ending.reason,
            "run_id": self.run.run_id,
            "best_epoch": self.best.epoch if self.best else None,
            "epochs": self.training.history[-1].epoch
            if self.training and self.training.history
            else 0,
            "seconds": seconds,
            "threads": torch.get_num_threads(),
            "checkpoint": uploaded or (str(best.absolute()) if best else None),
            "traceback": ending.traceback,
        }
        self.run.finish(
            ending.status,
            tags={"nnstudy.state": ending.label, "nnstudy.reason": ending.reason},
            best=_best_curves(self.best),
        )
        if ending.traceback:
            self.run.log_text(ending.traceback, "traceback.txt")
        self.trial.set_user_attr(ATTRIBUTE, facts)
        if not self._tell_optuna(ending, value):
            return None
        self.lease.release()
        self.keeper.discard_last()
        free_disk(self.work.optuna_study, self.work.plan, self.work.settings)
        self.work.emit(
            Event(
                "end",
                {
                    "stage": self.work.plan.stage,
                    "trial": self.number,
                    "state": ending.label,
                    "reason": ending.reason,
                    "value": value,
                    **{k: facts[k] for k in ("epochs", "best_epoch", "seconds")},
                },
            )
        )
        return ending

    def _tell_optuna(self, ending: Ending, value: float | None) -> bool:
        complete = ending.state is TrialState.COMPLETE
        try:
            self.work.optuna_study.tell(
                self.trial, value if complete else None, None if complete else ending.state
            )
        except optuna.exceptions.UpdateFinishedTrialError:
            return False
        return True

    # -- Telling others ---------------------------------------------------------------------

    def _progress(self) -> object:
        if isinstance(self.training, Training):
            return self.training.position
        return time.monotonic()  # a loop of the user's own does not tell where it is

    def _say(self, text: str) -> None:
        self.work.emit(Event("message", {"text": text}))

    def _emit_start(self) -> None:
        history = self.training.history if self.training else []
        self.work.emit(
            Event(
                "trial",
                {
                    "stage": self.work.plan.stage,
                    "trial": self.number,
                    "params": self.trial.params,
                    "epoch": history[-1].epoch if history else 0,
                    "epochs": self.work.plan.epochs,
                },
            )
        )

    def _emit_epoch(self, record: Record, score: float) -> None:
        assert self.best is not None
        self.work.emit(
            Event(
                "epoch",
                {
                    "stage": self.work.plan.stage,
                    "trial": self.number,
                    "step": record.step,
                    "epoch": record.epoch,
                    "score": score,
                    "best": self._score(self.best),
                    "seconds": record.seconds,
                },
            )
        )


def _curves(record: Record) -> dict[str, float]:
    return {
        **record.values,
        "epoch": record.epoch,
        "examples_seen": float(record.examples_seen),
        "seconds": record.seconds,
    }


def _best_curves(best: Record | None) -> dict[str, float]:
    if best is None:
        return {}
    return {
        **{name: value for name, value in best.values.items() if name.split("/")[-1] == "valid"},
        "epoch": best.epoch,
    }


def _failed(error: Exception) -> Ending:
    own = isinstance(error, UserError)
    reason = str(error) if own else f"{type(error).__name__}: {error}"
    return Ending(TrialState.FAIL, "FAILED", reason, "failed", traceback.format_exc())
