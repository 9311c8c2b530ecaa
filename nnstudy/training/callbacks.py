"""Hooks into the training loop: one no-op each, override what you need."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnstudy.training.loop import Training
    from nnstudy.training.record import Record


class Callback:
    """A few hooks into a training; each does nothing until it is overridden.

    Any object with some of these methods will do, it need not inherit from this class.
    """

    def on_train_begin(self, training: Training) -> None:
        """Called before the first minibatch, also when a training is continued."""

    def on_epoch_begin(self, training: Training) -> None:
        """Called before the first minibatch of an epoch."""

    def on_step_end(self, training: Training) -> None:
        """Called after each step of the optimizer."""

    def on_validation_batch_end(self, training: Training) -> None:
        """Called after each minibatch of a validation, on the averaged network too.

        What it raises ends the training there: the validation is repeated when the training
        is continued from its state.
        """

    def on_validation_end(self, training: Training, record: Record) -> None:
        """Called with the record of a validation; may add to ``record.values``."""

    def on_train_end(self, training: Training) -> None:
        """Called once when the training has ended by itself."""
