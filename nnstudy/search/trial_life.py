"""One trial's life, top to bottom: build, train, observe, report, keep, tell."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import optuna
import torch
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from nnstudy.errors import UserError
from nnstudy.search import requests
from nnstudy.search.announcer import Announcer
from nnstudy.search.attachments import Attachments
from nnstudy.search.delivery import MLFLOW, Delivery
from nnstudy.search.endings import (
    Ending,
    complete,
    diverged,
    failed,
    killed_its_workers,
    pruned,
)
from nnstudy.search.heartbeat import heartbeat
from nnstudy.search.interruption import Interrupted
from nnstudy.search.judging import judged
from nnstudy.search.keeping import Uploads, inherit
from nnstudy.search.last_word import LastWord
from nnstudy.search.leases import Lease, LeaseLost
from nnstudy.search.patience import Paused, first_line, is_storage_away
from nnstudy.search.reporting import Reports
from nnstudy.search.scores import Scores
from nnstudy.search.stage_work import StageWork
from nnstudy.search.tracked import curves_of_repeat
from nnstudy.search.trainings import OneTraining, Trainings
from nnstudy.training import Diverged, Record, RepeatedTraining, Training
from nnstudy.training.checkpoints import CheckpointError, Keeper, read
from nnstudy.training.repeated import curves_in

T = TypeVar("T")

_SYNC_SECONDS = 1.0
_MOST_DEATHS = 3

DATABASE = "the database"
DISK = "the place of the checkpoints"


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
        self.trainings = Trainings(trial, work, self._build_patiently)
        self.training: OneTraining | RepeatedTraining | None = None
        self.scores = Scores(
            work.plan.metric, work.plan.direction, "latest" if work.plan.repeats > 1 else "best"
        )
        self.uploads: Uploads | None = None
        self.announcer = Announcer(work.emit, work.plan, trial.number)
        self._attachments = Attachments(work, self._sync)
        self._recalled: list[Record] = []
        self._recalled_curves: dict[str, Any] = {"history": []}
        self._study_stopped = False
        self._trial_stopped = False
        self._saving = False
        self._in_epochs = False
        self._synced = time.monotonic()

    def live(self) -> Ending | None:
        """Runs the trial to its end.

        Returns:
            How it ended; None if another worker took it over meanwhile.

        Raises:
            Interrupted: The trial was left running, with all saved, as was asked for.
            Paused: The database, MLflow or the disk stayed away; the trial was left running.
        """
        with (
            heartbeat(self.lease, self._progress, self._abandon),
            self.work.interruption.holding(self.lease.release),
        ):
            try:
                return self._live()
            except LeaseLost:
                self.announcer.say(f"trial {self.number} is another worker's now")
                return None
            finally:
                # A database that is away lets the lease run out.
                with contextlib.suppress(StorageInternalError, SQLAlchemyError):
                    self.lease.release()

    def _live(self) -> Ending | None:
        plan, settings = self.work.plan, self.work.settings
        self.reports = self._wait_for(DATABASE, lambda: Reports(self.trial))
        self.delivery = Delivery(
            self.work.tracker,
            plan,
            self.trial,
            settings.device,
            self.work.patience,
            taken_over=self.lease.token > 1,
        )
        self.keeper = self._wait_for(DISK, self._make_keeper)
        ending = self._ending()
        verdicts = self._verdicts(ending)
        return self._wait_for("", lambda: self._tell(ending, verdicts))

    def _ending(self) -> Ending:
        if self.lease.deaths >= _MOST_DEATHS:
            self._recall()
            return killed_its_workers(self.lease.deaths)
        try:
            return self._train()
        except Diverged as divergence:
            return self._diverged(str(divergence))
        except optuna.TrialPruned as error:
            return pruned(str(error) or "pruned by the recipe")
        except (Interrupted, LeaseLost, Paused):
            raise
        except (Exception, SystemExit) as error:
            if is_storage_away(error):
                raise
            return failed(error)

    # -- Building ---------------------------------------------------------------------------

    def _train(self) -> Ending:
        try:
            self.training = self.trainings.make()
        finally:
            # Also a recipe that raised has asked for values, which are worth a run.
            self._open_run()
        self._continue()
        self.announcer.begun(self.trial.params, self._epochs_trained)
        try:
            self._in_epochs = True
            return self._epochs(self.training)
        except Interrupted:
            self._save()
            raise
        finally:
            self._in_epochs = False

    def _epochs(self, training: OneTraining | RepeatedTraining) -> Ending:
        for record in training:
            if not isinstance(training, RepeatedTraining):  # whose parts are observed instead
                self._observe(record)
            self._judge(record)
            if self._is_pruned(record):
                return pruned(self._when_pruned(record))
            self._sync_when_due()
            if self._trial_stopped:
                return self._complete("stopped on request")
            self._leave_when_asked()
        return self._complete(self._why_ended(training))

    def _hear(self, record: Record) -> None:
        """Takes a record of one of several trainings, after each of which the trial has its own."""
        training = self.training
        assert isinstance(training, RepeatedTraining)
        self._observe(record, repeat=training.number + 1)
        curves = curves_of_repeat(self.work.plan, training.number, training.names)
        self.delivery.add([record], curves)
        score = self.scores.of(record)
        so_far = replace(record, epoch=training.epochs, seconds=training.seconds)
        value = self.scores.value
        self.announcer.validated(so_far, score, score if value is None else value)
        self._sync_when_due()
        self._leave_when_asked()

    def _sync_when_due(self) -> None:
        if self.lease.deaths or time.monotonic() - self._synced >= _SYNC_SECONDS:
            self._sync()

    def _leave_when_asked(self) -> None:
        if self._study_stopped or self.work.interruption.requested:
            raise Interrupted

    def _build_patiently(self, build: Callable[[], OneTraining]) -> OneTraining:
        # A file that the recipe does not find is not the database's matter.
        with self._being_saved():
            return self.work.patience.wait_for(DATABASE, build, is_storage_away)

    def _make_keeper(self) -> Keeper:
        plan, settings = self.work.plan, self.work.settings
        try:
            return Keeper(
                inherit(plan, settings, self.number, self.lease.token),
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
        except OSError as error:
            raise CheckpointError(
                f"the checkpoints in {settings.checkpoints} cannot be used: {error}"
            ) from error

    def _open_run(self) -> None:
        if self.work.settings.upload:
            # Checkpoints live there, so nothing can go on without it.
            run = self._wait_for(MLFLOW, self.delivery.require)
            self.uploads = Uploads(self.keeper, run, self.lease.token)
            if self.lease.token > 1 and self._wait_for(MLFLOW, self.uploads.fetch):
                self._look_again()
        else:
            self.delivery.open()

    def _continue(self) -> None:
        """Goes on from the last checkpoint, if there is one that can be read."""
        if self.lease.token > 1:
            problem = self._load_last()
            if problem:
                self.announcer.say(f"trial {self.number} starts again: {problem}")
                self._start_again()
        assert self.training is not None
        for record in self.training.history:
            self.scores.add(record)
            # What an earlier worker could not report before it died is not lost.
            self._report_later(record)
        # Delivered once more, with their first time stamps: what was written already stays
        # as it is, what was lost on the way is filled in.
        self.delivery.add(self.training.history)
        if isinstance(self.training, RepeatedTraining):
            self._deliver_repeats(self.training.names, self.training.histories)
            self.training.on_begin = self._attach
            self.training.on_record = self._hear
        else:
            self._attach(self.training)

    def _deliver_repeats(
        self, names: Collection[str], histories: Sequence[Sequence[Record]]
    ) -> None:
        for number, records in enumerate(histories):
            self.delivery.add(records, curves_of_repeat(self.work.plan, number, names))

    def _recall(self) -> None:
        """Looks up how far a trial came that is not trained any more."""
        self._open_run()
        path = self.keeper.last_path
        if path is None:
            return
        with contextlib.suppress(CheckpointError, KeyError):
            state, _ = self._wait_for(DISK, partial(read, path))
            self._recalled = [Record.from_dict(fields) for fields in state["history"]]
            self._deliver_repeats(*curves_in(state))
            self._recalled_curves = {k: state[k] for k in ("history", "repeats") if k in state}
        for record in self._recalled:
            self.scores.add(record)
        self.delivery.add(self._recalled)

    def _load_last(self) -> str | None:
        """Loads the last checkpoint; returns why that cannot be done."""
        training = self.training
        assert training is not None
        if not self._continuable:
            return "its training loop has no state to go on from"
        path = self.keeper.last_path
        if path is None:
            return f"it has no checkpoint in {self.keeper.directory.parent}"
        try:
            state, _ = self._wait_for(DISK, partial(read, path))
            training.load_state_dict(state)
            self._attach(self._one_training, state.get("watch"))
        except (Paused, torch.OutOfMemoryError):
            raise
        except (UserError, KeyError, ValueError, RuntimeError) as error:
            return f"its checkpoint does not fit ({first_line(error)})"
        return None

    def _start_again(self) -> None:
        self._wait_for(DISK, self.keeper.clear)
        self._look_again()
        self.training = self.trainings.make()
        self._attachments.clear()
        self.delivery.start_again()

    def _look_again(self) -> None:
        """Begins to keep checkpoints anew, as others are in the directory now."""
        self.keeper = self._wait_for(DISK, self._make_keeper)
        if self.uploads:
            run = self._wait_for(MLFLOW, self.delivery.require)
            self.uploads = Uploads(self.keeper, run, self.lease.token)

    def _attach(self, training: OneTraining | None, measured: Any = None) -> None:
        assert training is not None
        several = self.training if isinstance(self.training, RepeatedTraining) else None
        # Pictures of each would cost more than many a training, and look much the same.
        show = None if several and several.number else self.delivery.show
        self._attachments.attach(training, show, measured)

    # -- At each validation -----------------------------------------------------------------

    def _observe(self, record: Record, repeat: int | None = None) -> None:
        """Looks at a training after a validation, and keeps its weights if they are worth it."""
        self._attachments.observe(record)
        training = self._one_training
        assert training is not None
        network, average = training.network, training.average
        self.keeper.record(
            record,
            self.scores.of(record),
            network.state_dict if network is not None else None,
            average.network.state_dict if average else None,
            self._state if self._continuable else None,
            average_score=record.values.get(f"{self.work.plan.metric}_average"),
            repeat=repeat,
        )

    def _judge(self, record: Record) -> None:
        """Takes a record of the trial."""
        score = self.scores.add(record)
        self.delivery.add([record])
        assert self.scores.value is not None
        self.announcer.validated(record, score, self.scores.value)

    def _state(self) -> dict[str, Any]:
        assert self.training is not None
        return {**self.training.state_dict(), "watch": self._attachments.measured()}

    def _curves(self) -> dict[str, Any]:
        """Returns the part of the state that MLflow can be told from later."""
        if isinstance(self.training, RepeatedTraining):
            return self.training.curves_dict()
        if self.training is None:
            return self._recalled_curves
        return {"history": [record.to_dict() for record in self.training.history]}

    @property
    def _history(self) -> list[Record]:
        return self.training.history if self.training else self._recalled

    @property
    def _one_training(self) -> OneTraining | None:
        """What is trained: of several trainings the one that runs, or ran last."""
        training = self.training
        return training.running if isinstance(training, RepeatedTraining) else training

    @property
    def _epochs_trained(self) -> float:
        if isinstance(self.training, RepeatedTraining):
            return self.training.epochs
        return self._history[-1].epoch if self._history else 0.0

    @property
    def _continuable(self) -> bool:
        return isinstance(self.training, Training | None) or self.training.continuable

    def _report_later(self, record: Record) -> bool:
        """Takes note of what the pruner is to be told; False where that is nothing."""
        assert self.scores.value is not None
        every = isinstance(self.training, RepeatedTraining)
        return self.reports.add(self.scores.value, record.step, self._last_step, every=every)

    def _is_pruned(self, record: Record) -> bool:
        if not self._report_later(record):
            return False
        is_last = record.step >= self._last_step
        ask = self.reports.flush if is_last else self.reports.should_prune
        return bool(self._attempt(DATABASE, ask)) and not is_last

    @property
    def _last_step(self) -> int:
        if isinstance(self.training, RepeatedTraining):
            return self.training.count
        if isinstance(self.training, Training):
            return self.training.budget.validations
        return math.ceil(self.work.plan.epochs)

    # -- Saving -----------------------------------------------------------------------------

    def _sync(self) -> None:
        """Writes what is due; what cannot be written now waits for the next time.

        The checkpoint comes first, into a directory that is this lease's alone. If the lease is
        good after that, whoever takes the trial over later has what it holds. So what MLflow is
        told after the lease was looked at has the time stamps that anybody else would give it.
        """
        with self._being_saved():
            if self._attempt(DISK, self._keep):
                self._attempt(DATABASE, self._note_progress)
            self._tell_others()
            if self.uploads:
                self.uploads.sync()
            self._attempt(DATABASE, self._hear_requests)
        self._synced = time.monotonic()

    def _tell_others(self) -> None:
        if self._attempt(DATABASE, self._has_lease):
            self.delivery.flush()
            self._attempt(DATABASE, self.reports.flush)

    def _hear_requests(self) -> None:
        study = self.work.optuna_study
        self._study_stopped = requests.is_study_stopped(study)
        self._trial_stopped = requests.is_trial_stopped(study, self.number)

    def _keep(self) -> bool:
        """Writes the weights worth keeping, and the state, also from inside an epoch."""
        self.keeper.flush(self._state if self._continuable else None)
        self._attachments.saved()
        return True

    def _note_progress(self) -> None:
        # A loop without a state begins again, and gets on only where others had not been.
        if self._continuable or len(self._history) > self.reports.reached:
            self.lease.got_on()

    def _save(self) -> None:
        """Writes all there is, for whoever goes on."""
        with self._being_saved():
            self._attempt(DISK, self._keep)
            self._tell_others()
            if self.uploads:
                self.uploads.save()

    @contextlib.contextmanager
    def _being_saved(self) -> Iterator[None]:
        before, self._saving = self._saving, True
        try:
            yield
        finally:
            self._saving = before

    def _has_lease(self) -> bool:
        self.lease.require()
        return True

    def _wait_for(self, what: str, operation: Callable[[], T]) -> T:
        with self._being_saved():  # also while something is away the trial is ours
            return self.work.patience.wait_for(what, operation)

    def _attempt(self, what: str, operation: Callable[[], T]) -> T | None:
        return self.work.patience.attempt(what, operation)

    # -- Endings ----------------------------------------------------------------------------

    def _when_pruned(self, record: Record) -> str:
        plan = self.work.plan
        if plan.repeats > 1:
            return f"pruned after {plan.repeat_kind} {record.step} of {plan.repeats}"
        return f"pruned at epoch {record.epoch:g}"

    def _why_ended(self, training: OneTraining | RepeatedTraining) -> str:
        if isinstance(training, RepeatedTraining):
            return f"all {training.count} {self.work.plan.repeat_kind}s"
        return training.ended or "ended"

    def _verdicts(self, ending: Ending) -> dict[str, Any]:
        """Returns the verdicts on the training; on the last one, where there are several."""
        one, history = self._one_training, self._history
        if isinstance(self.training, RepeatedTraining):
            history = self.training.running.history
            if ending.label in ("complete", "pruned"):
                ending = complete(self.training.running.ended or ending.reason)
        return judged(self.work.plan, self.work.data, one, history, ending)

    def _complete(self, reason: str) -> Ending:
        if self.scores.value is None:
            raise UserError("the training yielded no epoch")
        if math.isnan(self.scores.value):
            return self._diverged(f"{self.work.plan.metric} was NaN after each epoch")
        return complete(reason)

    def _diverged(self, reason: str) -> Ending:
        self.reports.add_divergence(len(self._history) + 1)
        return diverged(reason)

    def _tell(self, ending: Ending, verdicts: Mapping[str, Any]) -> Ending:
        """Tells of the end; may be done again, as something may fail or die at any point."""
        history = self._history
        trained = history[-1].seconds if history else 0.0
        last_word = LastWord(
            self.trial,
            self.lease,
            self.work,
            history,
            self._curves,
            self.training if isinstance(self.training, RepeatedTraining) else None,
            self.training.seconds if self.training else trained,
            self.scores,
            self.keeper,
            self.uploads,
            self.reports,
            self.delivery,
            verdicts,
        )
        with self._being_saved():
            facts = last_word.tell(ending)
        self.announcer.ended(ending, self.scores.value, facts)
        return ending

    def _abandon(self) -> None:
        self.announcer.say(
            f"trial {self.number} hung and is another worker's now, so this worker ends"
        )
        self.work.interruption.abandon()

    def _progress(self) -> object:
        """Returns what stands still only where the trial hangs.

        A loop of the user's own does not tell where it is, nor does a recipe that builds, nor
        a checkpoint that takes minutes to be read, written or uploaded.
        """
        training = self._one_training
        if self._in_epochs and not self._saving and isinstance(training, Training):
            return training.pulse
        return time.monotonic()
