"""A worker: takes trials of a stage, one after another, until the budget is spent."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass
from functools import partial

from optuna.trial import TrialState

from nnstudy.errors import UserError
from nnstudy.search import requests
from nnstudy.search.budget import Budget, Counts, claim, count
from nnstudy.search.delivery import MLFLOW, deliver_late
from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.interruption import Interrupted
from nnstudy.search.leases import Leases
from nnstudy.search.locks import LOCK_TIMEOUT, LockStuck
from nnstudy.search.patience import is_away
from nnstudy.search.stage_budget import stage_budget
from nnstudy.search.stage_work import StageWork
from nnstudy.search.trial_life import DATABASE, TrialLife

_HOPELESS = 3
_WAIT_SECONDS = 0.5
_LATE_SECONDS = 10.0
_SHORT_SECONDS = 0.1
_GRACE_SECONDS = 2.0


@dataclass
class Worker:
    """Runs trials of a stage.

    Attributes:
        work: The stage and its surroundings.
    """

    work: StageWork

    def __post_init__(self) -> None:
        """Makes the table of leases where it is missing."""
        self._delivered = 0.0
        self._leases = self.work.patience.wait_for(
            DATABASE,
            lambda: Leases(self.work.storage, worker_name(), self.work.settings.lease_seconds),
        )

    def run(self) -> bool:
        """Runs trials until the stage's budget is spent or somebody asks for an end.

        Waits for trials that other workers have, to take them over should those die.

        Returns:
            True if the budget is spent.

        Raises:
            UserError: If the first trials of the stage all raised, or what is needed for
                going on stayed away.
        """
        study, patience = self.work.optuna_study, self.work.patience
        try:
            while not self._must_end():
                self._deliver_late()
                budget = patience.wait_for(DATABASE, self._budget)
                # While the database was away leases ran out whose trials are alive.
                self.work.interruption.wait(patience.back_at + _GRACE_SECONDS - time.monotonic())
                claimed = patience.wait_for(DATABASE, partial(claim, study, budget, self._leases))
                if claimed is None:
                    if budget.is_spent(self._count()):
                        patience.wait_for(MLFLOW, self._deliver_rest)
                        return True
                    self.work.interruption.wait(_WAIT_SECONDS)
                    continue
                trial, lease = claimed
                if self.work.interruption.leaving:
                    lease.release()
                    return False
                ending = TrialLife(trial, lease, self.work).live()
                if ending and ending.state is TrialState.FAIL:
                    patience.wait_for(DATABASE, self._refuse_hopeless)
            return patience.wait_for(DATABASE, self._budget).is_spent(self._count())
        except Interrupted:
            return False

    def _budget(self) -> Budget:
        # A launch from elsewhere may have raised it since.
        return stage_budget(self.work.storage, self.work.optuna_study)

    def _count(self) -> Counts:
        return self.work.patience.wait_for(
            DATABASE, lambda: count(self.work.optuna_study, self._leases)
        )

    def _must_end(self) -> bool:
        return self.work.interruption.requested or self.work.patience.wait_for(
            DATABASE, lambda: requests.is_study_stopped(self.work.optuna_study)
        )

    def _deliver_late(self) -> None:
        """Tells MLflow now and then what it missed, also of other workers' trials."""
        if time.monotonic() - self._delivered >= _LATE_SECONDS:
            self._delivered = time.monotonic()
            with contextlib.suppress(LockStuck):  # somebody else does it at this moment
                self.work.patience.attempt(
                    MLFLOW, partial(self._deliver_rest, _SHORT_SECONDS), _is_away_not_held
                )

    def _deliver_rest(self, timeout: float = LOCK_TIMEOUT) -> None:
        work = self.work
        deliver_late(
            work.storage,
            work.tracker,
            work.plan,
            work.optuna_study,
            work.settings,
            timeout=timeout,
        )

    def _refuse_hopeless(self) -> None:
        """Raises UserError, with the traceback, if all of the first trials failed."""
        trials = self.work.optuna_study.get_trials(deepcopy=False)
        finished = [trial for trial in trials if trial.state.is_finished()]
        enough = min(_HOPELESS, self.work.plan.trials)
        if len(finished) < enough or any(t.state is not TrialState.FAIL for t in finished):
            return
        facts = finished[-1].user_attrs.get(ATTRIBUTE, {})
        raise UserError(
            f"all of the first {len(finished)} trials of {self.work.plan.name!r} failed, so the"
            f" study stops. The last one with\n{facts.get('traceback', 'no traceback')}"
        )


def _is_away_not_held(error: BaseException) -> bool:
    return is_away(error) and not isinstance(error, LockStuck)


def worker_name(process: int | None = None) -> str:
    """Returns what a process of this machine is called in leases: host and process number.

    Args:
        process: Its number; default: this one's.
    """
    return f"{socket.gethostname()}:{os.getpid() if process is None else process}"
