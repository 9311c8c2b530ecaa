"""The budget of a study: exactly so many trials, whoever works on them and whoever dies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

from nnstudy.errors import UserError
from nnstudy.search.leases import Lease, Leases
from nnstudy.search.locks import study_lock


@dataclass(frozen=True)
class Budget:
    """How much a study may cost, across all its workers and launches.

    Attributes:
        trials: Finished trials that end the study: complete, pruned or failed.
    """

    trials: int

    def __post_init__(self) -> None:
        """Raises UserError where the budget cannot be meant."""
        if self.trials < 1:
            raise UserError(f"The number of trials must be at least 1, got {self.trials}")


@dataclass(frozen=True)
class Counts:
    """Trials of a study by what becomes of them.

    Attributes:
        finished: Complete, pruned or failed.
        running: A worker holds a lease.
        interrupted: Begun, but the worker is gone; to be taken over.
        waiting: Enqueued.
    """

    finished: int
    running: int
    interrupted: int
    waiting: int


def count(study: optuna.Study, leases: Leases) -> Counts:
    """Counts a study's trials."""
    held = leases.held()
    return _counts(study.get_trials(deepcopy=False), held)


def claim(
    study: optuna.Study, budget: Budget, leases: Leases
) -> tuple[optuna.trial.Trial, Lease] | None:
    """Gives this worker a trial to work on, unless the budget is spent or being spent.

    Counting and asking happen under the study's lock, or workers would overshoot the
    budget; suggesting, which may take long, happens outside. Preferred are interrupted
    trials (with their number, parameters and curve; their lease has a token above 1),
    then enqueued ones, then new ones.

    Args:
        study: An Optuna study on the storage of ``leases``.
        budget: The whole study's.
        leases: Where the trial's lease is taken.

    Returns:
        The trial and its lease, or None: with ``count(study, leases).finished`` below the
        budget, others work on the rest.

    Raises:
        UserError: The study's lock is stuck.
    """
    with study_lock(leases.storage, study.study_name):
        lease = _claim_id(study, budget, leases)
    if lease is None:
        return None
    # What study.ask() does first: samplers must not look at the trials of an earlier ask.
    study._thread_local.cached_all_trials = None
    try:
        return optuna.trial.Trial(study, lease.trial_id), lease
    except BaseException:
        lease.release()
        raise


def _claim_id(study: optuna.Study, budget: Budget, leases: Leases) -> Lease | None:
    while True:
        # In this order: a worker finishes its trial first and gives the lease back then.
        held = leases.held()
        trials = study.get_trials(deepcopy=False)
        counts = _counts(trials, held)
        if counts.finished + counts.running >= budget.trials:
            return None
        trial_id = next(
            (
                trial._trial_id
                for trial in trials
                if trial.state == TrialState.RUNNING and trial._trial_id not in held
            ),
            None,
        )
        if trial_id is None:
            trial_id = study._pop_waiting_trial_id()
        if trial_id is None:
            trial_id = study._storage.create_new_trial(study._study_id)
        lease = leases.take(trial_id)
        if lease is None:
            # Renewed at the last moment. Or a new trial has the id of a deleted one, as SQLite
            # gives it again, whose lease still holds: it counts as running until that ends.
            continue
        if study._storage.get_trial(trial_id).state == TrialState.RUNNING:
            return lease
        lease.release()  # its owner was late, but finished it


def _counts(trials: list[optuna.trial.FrozenTrial], held: set[int]) -> Counts:
    states = Counter(trial.state for trial in trials)
    running = sum(trial.state == TrialState.RUNNING and trial._trial_id in held for trial in trials)
    return Counts(
        finished=sum(number for state, number in states.items() if state.is_finished()),
        running=running,
        interrupted=states[TrialState.RUNNING] - running,
        waiting=states[TrialState.WAITING],
    )
