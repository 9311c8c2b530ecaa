"""A worker: takes trials of a stage, one after another, until the budget is spent."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

from optuna.trial import TrialState

from nnstudy.errors import UserError
from nnstudy.search import requests
from nnstudy.search.budget import Budget, claim, count
from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.leases import Leases
from nnstudy.search.stage_work import StageWork
from nnstudy.search.trial_life import Interrupted, TrialLife

_HOPELESS = 3
_WAIT_SECONDS = 0.5


@dataclass
class Worker:
    """Runs trials of a stage.

    Attributes:
        work: The stage and its surroundings.
    """

    work: StageWork

    def run(self) -> bool:
        """Runs trials until the stage's budget is spent or somebody asks for an end.

        Waits for trials that other workers have, to take them over should those die.

        Returns:
            True if the budget is spent.

        Raises:
            UserError: If the first trials of the stage all raised, or what is needed for
                going on cannot be written.
        """
        study = self.work.optuna_study
        budget = Budget(self.work.plan.trials)
        leases = Leases(self.work.storage, owner_name(), self.work.settings.lease_seconds)
        while not self._must_end():
            claimed = claim(study, budget, leases)
            if claimed is None:
                if count(study, leases).finished >= budget.trials:
                    return True
                time.sleep(_WAIT_SECONDS)
                continue
            trial, lease = claimed
            try:
                ending = TrialLife(trial, lease, self.work).live()
            except Interrupted:
                return False
            if ending and ending.state is TrialState.FAIL:
                self._refuse_hopeless()
        return count(study, leases).finished >= budget.trials

    def _must_end(self) -> bool:
        return self.work.interruption.requested or requests.is_study_stopped(self.work.optuna_study)

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


def owner_name() -> str:
    """Returns what this process is called in leases: host and process number."""
    return f"{socket.gethostname()}:{os.getpid()}"
