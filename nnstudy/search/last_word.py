"""A trial's last word: to the place of the checkpoints, to MLflow, to Optuna, in this order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from nnstudy.search.delivery import Delivery
from nnstudy.search.endings import ATTRIBUTE, Ending
from nnstudy.search.keeping import Uploads, discard_earlier, free_disk
from nnstudy.search.leases import Lease, LeaseLost
from nnstudy.search.reporting import Reports
from nnstudy.search.scores import Scores
from nnstudy.search.stage_work import StageWork
from nnstudy.search.timing.comparison import FACT as TIMING
from nnstudy.search.timing.comparison import timing_facts
from nnstudy.search.update_ratios import FACT, typical_ratio
from nnstudy.training import Record, RepeatedTraining
from nnstudy.training.checkpoints import CheckpointName, Keeper
from nnstudy.training.scoring import best_record

_EPOCH_DIGITS = 1e-5  # of an epoch in a checkpoint's name


@dataclass(frozen=True)
class LastWord:
    """What there is to be told of a trial that has ended.

    Attributes:
        trial: The trial.
        lease: The right to tell.
        work: The stage and its surroundings.
        history: Its records.
        curves: Returns what is kept of its curves where MLflow lacks some of them.
        repeated: What it has trained, where that was several times.
        seconds: What the training took.
        scores: What it is judged by.
        keeper: Its checkpoints.
        uploads: Their copies among MLflow's artifacts, if there shall be any.
        reports: What the pruner is told.
        delivery: What MLflow is told.
        verdicts: What is to be said of it, see ``judged``.
    """

    trial: optuna.Trial
    lease: Lease
    work: StageWork
    history: Sequence[Record]
    curves: Callable[[], Mapping[str, Any]]
    repeated: RepeatedTraining | None
    seconds: float
    scores: Scores
    keeper: Keeper
    uploads: Uploads | None
    reports: Reports
    delivery: Delivery
    verdicts: Mapping[str, Any]

    def tell(self, ending: Ending) -> dict[str, Any]:
        """Tells of the end; may be done again, as something may fail or die at any point.

        Returns:
            What Optuna keeps of the trial.

        Raises:
            LeaseLost: Another worker has the trial.
        """
        # What has failed may not be able to show its state.
        self.keeper.flush(self.curves if ending.state is TrialState.FAIL else None)
        self.lease.require()
        self.reports.flush()
        if self.uploads:
            self.uploads.finish()
        facts = self._facts(ending)
        delivered = self.delivery.finish(facts, self.scores.judged)
        if not delivered:
            self._keep_curves()
        self._tell_optuna(ending, facts)
        if delivered:
            self.keeper.discard_last()
        if self.uploads:
            self.uploads.discard()
        plan, settings = self.work.plan, self.work.settings
        discard_earlier(plan, settings, self.trial.number, self.lease.token)
        free_disk(plan, settings)
        return facts

    def _keep_curves(self) -> None:
        """Leaves the curves where they are found when MLflow is back, see ``deliver_late``."""
        if self.keeper.last_path is None:
            self.keeper.flush(self.curves)

    def _facts(self, ending: Ending) -> dict[str, Any]:
        plan, judged = self.work.plan, self.scores.judged
        facts = {
            "version": 1,
            "ended": ending.label,
            "reason": ending.reason,
            "run_id": self.delivery.run.run_id if self.delivery.run else None,
            "best_epoch": judged.epoch if judged else None,
            "epochs": self.history[-1].epoch if self.history else 0,
            "seconds": self.seconds,
            FACT: typical_ratio(self.history),
            "threads": torch.get_num_threads(),
            "checkpoint": self._checkpoint(judged),
            "traceback": ending.traceback,
            "token": self.lease.token,
            **self.verdicts,
            **({TIMING: timing_facts(self._first, plan.metric)} if plan.scaled else {}),
        }
        return facts if self.repeated is None else {**facts, **self._of_repeats(self.repeated)}

    @property
    def _first(self) -> Sequence[Record]:
        """The records of the first training, which all trials have in common."""
        several = self.repeated.histories if self.repeated else []
        return several[0] if several else self.history

    def _of_repeats(self, repeated: RepeatedTraining) -> dict[str, Any]:
        """Returns what is told of a trial that is trained several times, in place of the rest."""
        best = repeated.best
        ranked = best_record(best, self.scores.metric, self.scores.direction)
        repeats = [
            {
                "score": self.scores.of(record),
                "best_epoch": record.epoch,
                "epochs": records[-1].epoch,
                "checkpoint": self._checkpoint(record, place),
            }
            for place, (record, records) in enumerate(zip(best, repeated.finished, strict=True), 1)
        ]
        place = best.index(ranked) + 1 if ranked else None
        return {
            "epochs": repeated.epochs,
            FACT: typical_ratio(repeated.running.history),
            "repeats": repeats,
            # Weights have to be somebody's: those of the best training stand for the trial.
            "best_repeat": place,
            "checkpoint": repeats[place - 1]["checkpoint"] if place else None,
        }

    def _checkpoint(self, judged: Record | None, repeat: int | None = None) -> str | None:
        """Returns where the weights of a record are kept, if they are."""
        averaged = self.work.plan.metric.endswith("_average")
        find = self.keeper.average_path if averaged else self.keeper.best_path
        path = find(repeat)
        name = CheckpointName.parse(path.name) if path else None
        if path is None or name is None or name.epoch is None or judged is None:
            return None
        # A limit on disk space may have taken the file of the best epoch and left another's.
        if not math.isclose(name.epoch, judged.epoch, abs_tol=_EPOCH_DIGITS):
            return None
        return self.uploads.place(path) if self.uploads else str(path.absolute())

    def _tell_optuna(self, ending: Ending, facts: dict[str, Any]) -> None:
        study, trial = self.work.optuna_study, self.trial
        completes = ending.state is TrialState.COMPLETE
        try:
            trial.set_user_attr(ATTRIBUTE, facts)
            study.tell(
                trial,
                self.scores.value if completes else None,
                None if completes else ending.state,
            )
        except UpdateFinishedTrialError:
            stored = study._storage.get_trial(trial._trial_id)
            # Told by an earlier attempt, of which the database kept the answer to itself?
            if stored.user_attrs.get(ATTRIBUTE, {}).get("token") != self.lease.token:
                raise LeaseLost from None
