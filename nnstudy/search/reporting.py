"""What Optuna is told of a trial while it runs, and whether it is pruned."""

from __future__ import annotations

import math

import optuna

_GROWTH = 1.2


def is_reported(step: int, last: int) -> bool:
    """Tells whether a trial reports after a validation.

    A report and a pruning decision cost some five milliseconds, as much as half an epoch of
    a small network, so they thin out: every one of the first five, then each time the
    training has grown by a fifth, and the last. It depends on the step alone: if it depended
    on the clock, the same seed would not give the same trials twice.

    Args:
        step: Validations completed, from 1.
        last: The last one there can be.
    """
    if step <= 5 or step >= last:
        return True
    return math.floor(math.log(step, _GROWTH)) > math.floor(math.log(step - 1, _GROWTH))


class Reports:
    """Reports of a trial, in their order; those that the database did not take wait.

    Args:
        trial: Whose steps that are stored already are not reported again.

    Attributes:
        reached: The last step that earlier workers reported, 0 if there is none.
    """

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial
        stored = trial.study._storage.get_trial(trial._trial_id).intermediate_values
        self.reached = self._added = max(stored, default=0)
        self._waiting: list[tuple[int, float]] = []

    def add(self, value: float, step: int, last: int, *, every: bool = False) -> bool:
        """Takes note of the value so far, of the best epoch or the mean of all trainings.

        That of the best epoch keeps early-stopped curves comparable.

        Args:
            value: The value.
            step: Its step, from 1.
            last: The last step there can be.
            every: Whether all steps are reported, as each of them is a training of its own.

        Returns:
            Whether there is something to report.
        """
        if step <= self._added or not (every or is_reported(step, last)):
            return False
        self._added = step
        self._waiting.append((step, value))
        return True

    def add_divergence(self, step: int) -> None:
        """Takes note of the worst value there is, so that the sampler learns from it."""
        # Optuna takes no second report at a step.
        self._added = max(step, self._added + 1)
        self._waiting.append((self._added, math.nan))

    def flush(self) -> bool:
        """Reports what waits.

        Raises:
            StorageInternalError: The database failed; what is left waits on.
        """
        while self._waiting:
            step, value = self._waiting[0]
            self._trial.report(value, step)
            del self._waiting[0]
        return True

    def should_prune(self) -> bool:
        """Reports what waits and asks the pruner."""
        self.flush()
        return self._trial.should_prune()
