"""One trial's life, top to bottom: build, train, observe, report, keep, tell."""

from __future__ import annotations

import contextlib
import math
import time
import zlib
from collections.abc import Iterator

import optuna
import torch
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from nnstudy.diagnostics import UpdateRatioMonitor
from nnstudy.errors import UserError
from nnstudy.search import requests
from nnstudy.search.announcer import Announcer
from nnstudy.search.endings import ATTRIBUTE, Ending, complete, diverged, failed, pruned
from nnstudy.search.heartbeat import heartbeat
from nnstudy.search.keeping import Uploads, free_disk, trial_directory
from nnstudy.search.leases import Lease
from nnstudy.search.reporting import is_reported
from nnstudy.search.stage_work import StageWork
from nnstudy.search.tracked import best_curves, curves, last_step, open_trial_run
from nnstudy.study.building import build_training
from nnstudy.training import Diverged, Record, Training
from nnstudy.training.checkpoints import CheckpointError, Keeper, read
from nnstudy.training.own_loop import OwnTraining
from nnstudy.training.seeds import seed_everything

_SYNC_SECONDS = 1.0


class Interrupted(Exception):
    """The trial was left running, to be continued later."""


class LeaseLost(Exception):
    """Another worker has the trial now; whatever is done here is in vain."""


class TrackingAway(UserError):
    """The trial's run in MLflow could not be opened."""


# What ends the work on a trial and is not the trial's fault: it stays as its last checkpoint
# has it, for anybody to go on with.
_NOT_ITS_FAULT = (
    Interrupted,
    LeaseLost,
    CheckpointError,
    TrackingAway,
    StorageInternalError,
    SQLAlchemyError,
)


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
        self.announcer = Announcer(work.emit, work.plan, trial.number)
        self._monitor: UpdateRatioMonitor | None = None
        self._study_stopped = False
        self._saving = False
        self._tracked = 0
        self._reported = max(
            trial.study._storage.get_trial(trial._trial_id).intermediate_values, default=0
        )
        self._undelivered: list[Record] = []
        self._synced = time.monotonic()

    def live(self) -> Ending | None:
        """Runs the trial to its end.

        Returns:
            How it ended; None if another worker took it over meanwhile.

        Raises:
            Interrupted: The trial was left running, with all saved, as was asked for.
            UserError: The database, MLflow or the disk failed; the trial was left running.
        """
        with heartbeat(self.lease, self._progress):
            try:
                ending = self._ending()
                with self._being_saved():
                    return self._tell(ending)
            except LeaseLost:
                return None
            except (StorageInternalError, SQLAlchemyError) as error:
                raise UserError(
                    f"the database failed while trial {self.number} ran"
                    f" ({_first_line(error)}). The trial is as its last checkpoint has it:"
                    " launch again to go on"
                ) from error
            finally:
                # A database that is away lets the lease run out.
                with contextlib.suppress(StorageInternalError, SQLAlchemyError):
                    self.lease.release()

    def _ending(self) -> Ending:
        try:
            return self._train()
        except Diverged as divergence:
            return self._diverged(str(divergence))
        except optuna.TrialPruned as error:
            return pruned(str(error) or "pruned by the recipe")
        except _NOT_ITS_FAULT:
            raise
        except (Exception, SystemExit) as error:
            return failed(error)

    # -- Building ---------------------------------------------------------------------------

    def _train(self) -> Ending:
        self.keeper = self._make_keeper()
        try:
            self.training = self._build()
        finally:
            # Also a recipe that raised has asked for values, which are worth a run.
            self._open_run()
        self.uploads = Uploads(self.keeper, self.run) if self.work.settings.upload else None
        self._continue()
        self.announcer.begun(self.trial.params, self.training.history)
        self._attach_monitor()
        for record in self.training:
            self._observe(record)
            if self._is_pruned(record):
                return pruned(f"pruned at epoch {record.epoch:g}")
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

    def _open_run(self) -> None:
        try:
            self.run = open_trial_run(self.work, self.trial)
        except UserError as error:
            raise TrackingAway(str(error)) from error

    def _continue(self) -> None:
        """Goes on from the last checkpoint, if there is one that can be read."""
        if self.lease.token == 1:
            return
        if self.uploads:
            self.uploads.fetch_last()
        training = self.training
        assert training is not None
        problem = self._load_last(training)
        if problem:
            self.announcer.say(f"trial {self.number} starts again: {problem}")
            self._start_again()
            return
        for record in training.history:
            self._rate(record)
        # Delivered once more, with their first time stamps: what was written already stays
        # as it is, what was lost on the way is filled in.
        self._undelivered = list(training.history)

    def _load_last(self, training: Training | OwnTraining) -> str | None:
        """Loads the last checkpoint; returns why that cannot be done."""
        if isinstance(training, OwnTraining) and not training.continuable:
            return "its training loop has no state to go on from"
        path = self.keeper.last_path
        if path is None:
            return "it has no checkpoint here"
        try:
            state, _ = read(path)
            training.load_state_dict(state)
        except (UserError, KeyError, ValueError, RuntimeError) as error:
            return f"its checkpoint does not fit ({_first_line(error)})"
        return None

    def _start_again(self) -> None:
        for path in self.keeper.paths():
            path.unlink(missing_ok=True)
        self.keeper = self._make_keeper()
        self.uploads = Uploads(self.keeper, self.run) if self.work.settings.upload else None
        self.training = self._build()
        # What MLflow has of the first start stays: a step twice would tear its curves.
        self._tracked = last_step(self.work.tracker, self.run.run_id)

    def _attach_monitor(self) -> None:
        if isinstance(self.training, Training):
            self._monitor = UpdateRatioMonitor(
                self.training.network,
                self.training.optimizer,
                steps_per_epoch=self.training.budget.minibatches_between,
            )

    # -- At each validation -----------------------------------------------------------------

    def _observe(self, record: Record) -> None:
        if self._monitor:
            record.values |= self._monitor.values()
        score = self._rate(record)
        assert self.training is not None
        network, average = self.training.network, self.training.average
        self.keeper.record(
            record,
            score,
            network.state_dict if network is not None else None,
            average.network.state_dict if average else None,
            self.training.state_dict if self._continuable else None,
            average_score=record.values.get(f"{self.work.plan.metric}_average"),
        )
        self._undelivered.append(record)
        assert self.best is not None
        self.announcer.validated(record, score, self._score(self.best))

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
        if math.isnan(other):
            return True
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
        return self._study_stopped or self.work.interruption.requested

    # -- Saving -----------------------------------------------------------------------------

    def _sync(self) -> None:
        """Writes what is due: the checkpoint first, which holds what MLflow gets after it."""
        with self._being_saved():
            self._require_lease()
            self.keeper.flush()
            self._deliver()
            if self.uploads:
                self.uploads.sync()
        self._synced = time.monotonic()
        self._study_stopped = requests.is_study_stopped(self.work.optuna_study)

    def _save(self) -> None:
        with self._being_saved():
            self._require_lease()
            self.keeper.flush()
            self._deliver()
            if self.uploads:
                self.uploads.save()

    @contextlib.contextmanager
    def _being_saved(self) -> Iterator[None]:
        self._saving = True
        try:
            yield
        finally:
            self._saving = False

    def _deliver(self) -> None:
        for record in self._undelivered:
            if record.step > self._tracked:
                self.run.log(curves(record), step=record.step, timestamp=record.timestamp)
        self._undelivered.clear()
        self.run.flush()

    def _require_lease(self) -> None:
        if not self.lease.valid():
            raise LeaseLost

    # -- Endings ----------------------------------------------------------------------------

    def _complete(self, reason: str) -> Ending:
        if self.best is None:
            raise UserError("the training yielded no epoch")
        if math.isnan(self._score(self.best)):
            return self._diverged(f"{self.work.plan.metric} was NaN after each epoch")
        return complete(reason)

    def _diverged(self, reason: str) -> Ending:
        """Reports the worst value, so that the sampler learns from it."""
        step = len(self.training.history) + 1 if self.training else 1
        # Optuna takes no second report at a step.
        self.trial.report(math.nan, max(step, self._reported + 1))
        return diverged(reason)

    def _tell(self, ending: Ending) -> Ending | None:
        """Everything before ``tell`` may be done twice, so a crash in between does no harm."""
        self._require_lease()
        self.keeper.flush()
        self._deliver()
        value = self._score(self.best) if self.best else None
        seconds = self.training.seconds if self.training else 0.0
        checkpoint = self._judged_checkpoint()
        if self.uploads:
            checkpoint = self.uploads.finish(checkpoint)
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
            "checkpoint": checkpoint,
            "traceback": ending.traceback,
        }
        self.run.finish(
            ending.status,
            tags={"nnstudy.state": ending.label, "nnstudy.reason": ending.reason},
            best=best_curves(self.best, self.work.plan.metric),
            best_at=self.best.timestamp if self.best else None,
        )
        if ending.traceback:
            self.run.log_text(ending.traceback, "traceback.txt")
        self.trial.set_user_attr(ATTRIBUTE, facts)
        self._tell_optuna(ending, value)
        self.keeper.discard_last()
        free_disk(self.work.optuna_study, self.work.plan, self.work.settings)
        self.announcer.ended(ending, value, facts)
        return ending

    def _judged_checkpoint(self) -> str | None:
        """Returns the file with the weights that the trial's value belongs to."""
        averaged = self.work.plan.metric.endswith("_average")
        path = self.keeper.average_path if averaged else self.keeper.best_path
        return str(path.absolute()) if path else None

    def _tell_optuna(self, ending: Ending, value: float | None) -> None:
        complete = ending.state is TrialState.COMPLETE
        try:
            self.work.optuna_study.tell(
                self.trial, value if complete else None, None if complete else ending.state
            )
        except optuna.exceptions.UpdateFinishedTrialError:
            raise LeaseLost from None

    def _progress(self) -> object:
        """Returns what stands still only where the trial hangs.

        A loop of the user's own does not tell where it is, nor does a recipe that builds, nor
        an upload that takes minutes.
        """
        if self._saving or not isinstance(self.training, Training):
            return time.monotonic()
        return self.training.pulse


def _first_line(error: BaseException) -> str:
    return (str(error.__cause__ or error) or type(error).__name__).splitlines()[0]
