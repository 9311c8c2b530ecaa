"""What happens between two validations: leaving at a minibatch, a checkpoint inside an epoch."""

from __future__ import annotations

import time
from collections.abc import Callable

from nnstudy.search.interruption import Interrupted, Interruption
from nnstudy.training import Callback, Training
from nnstudy.training.seeds import random_state, set_random_state


class BetweenValidations(Callback):
    """Looks after each minibatch whether the trial must leave, or is due for a checkpoint.

    Args:
        interruption: Asks to leave.
        every: Seconds after which a checkpoint is due.
        save: Writes it.
    """

    def __init__(self, interruption: Interruption, every: float, save: Callable[[], None]) -> None:
        self._interruption = interruption
        self._every = every
        self._save = save
        self._saved = time.monotonic()

    def on_step_end(self, training: Training) -> None:
        """Raises Interrupted if the trial must leave; what was trained until now can be saved."""
        if self._interruption.leaving:
            raise Interrupted
        if time.monotonic() - self._saved >= self._every:
            state = random_state()
            self._save()
            # Whatever was drawn while it was written, the training goes on as if nothing had been.
            set_random_state(state)
            self.saved()

    def on_validation_batch_end(self, training: Training) -> None:
        """Raises Interrupted if the trial must leave: the validation is then repeated."""
        if self._interruption.leaving:
            raise Interrupted

    def saved(self) -> None:
        """Starts the time again, as a checkpoint was written."""
        self._saved = time.monotonic()
