"""The budget of a study: exactly so many trials, whoever works on them and whoever dies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nnstudy.errors import UserError
from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.leases import Lease, Leases
from nnstudy.search.locks import study_lock


@dataclass(frozen=True)
class Budget:
    """How much a stage may cost, across all its workers and launches.

    Attributes:
        trials: Finished trials that end the stage: complete, pruned or failed.
        epochs: Epochs that its trials may train together; None: any number. It is never
            exceeded: a trial begins only if all its epochs fit.
        epochs_each: Largest number of epochs of a trial.
        flat_trials: No trial begins any more once the best value has not improved over so many
            finished trials; None: that does not matter.
        noise: What an improvement must exceed to count: the standard deviation between seeds.
    """

    trials: int
    epochs: float | None = None
    epochs_each: float = 0.0
    flat_trials: int | None = None
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Raises UserError where the budget cannot be meant."""
        if self.trials < 1:
            raise UserError(f"The number of trials must be at least 1, got {self.trials}")

    def is_flat(self, counts: Counts) -> bool:
        """Tells whether the last trials have improved nothing, so that no more is expected."""
        if self.flat_trials is None or len(counts.bests) <= self.flat_trials:
            return False
        return counts.bests[-1] - counts.bests[-1 - self.flat_trials] <= self.noise

    def allows_another(self, counts: Counts) -> bool:
        """Tells whether one more trial may begin, beside those that have.

        Not where the search has become flat, nor where its epochs do not fit beside those spent
        and reserved.
        """
        if self.is_flat(counts):
            return False
        if self.epochs is None:
            return True
        reserved = (counts.running + counts.interrupted + 1) * self.epochs_each
        return counts.epochs + reserved <= self.epochs * (1 + _ROUNDING)

    def is_spent(self, counts: Counts) -> bool:
        """Tells whether a stage has come to its end."""
        if counts.finished >= self.trials:
            return True
        return not (counts.running or counts.interrupted or self.allows_another(counts))


_ROUNDING = 1e-9


@dataclass(frozen=True)
class Counts:
    """Trials of a study by what becomes of them.

    Attributes:
        finished: Complete, pruned or failed.
        running: A worker holds a lease.
        interrupted: Begun, but the worker is gone; to be taken over.
        waiting: Enqueued.
        epochs: That the finished ones have trained.
        bests: The best value after each finished trial, as they came to their end, from the
            first complete one on; the larger, the better, whatever the direction.
    """

    finished: int
    running: int
    interrupted: int
    waiting: int
    epochs: float = 0.0
    bests: tuple[float, ...] = ()


def count(study: optuna.Study, leases: Leases) -> Counts:
    """Counts a study's trials."""
    held = leases.held()
    return _counts(study.get_trials(deepcopy=False), held, study.direction)


def epochs_trained(trials: Iterable[FrozenTrial]) -> float:
    """Returns the epochs that the finished ones of these trials have trained."""
    return sum(
        float(trial.user_attrs.get(ATTRIBUTE, {}).get("epochs", 0.0))
        for trial in trials
        if trial.state.is_finished()
    )


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
        The trial and its lease, or None: unless ``budget.is_spent(count(study, leases))``,
        others work on the rest.

    Raises:
        LockStuck: Somebody else holds the study's lock.
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
        counts = _counts(trials, held, study.direction)
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
        if trial_id is None and not budget.allows_another(counts):
            return None
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


def _bests(trials: list[FrozenTrial], direction: StudyDirection) -> Iterator[float]:
    sign = 1.0 if direction == StudyDirection.MAXIMIZE else -1.0
    best: float | None = None
    finished = [trial for trial in trials if trial.datetime_complete]
    for trial in sorted(finished, key=lambda trial: (trial.datetime_complete, trial.number)):
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            value = sign * trial.value
            best = value if best is None else max(best, value)
        if best is not None:
            yield best


def _counts(trials: list[FrozenTrial], held: set[int], direction: StudyDirection) -> Counts:
    states = Counter(trial.state for trial in trials)
    running = sum(trial.state == TrialState.RUNNING and trial._trial_id in held for trial in trials)
    return Counts(
        finished=sum(number for state, number in states.items() if state.is_finished()),
        running=running,
        interrupted=states[TrialState.RUNNING] - running,
        waiting=states[TrialState.WAITING],
        epochs=epochs_trained(trials),
        bests=tuple(_bests(trials, direction)),
    )
