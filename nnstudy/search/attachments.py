"""What is attached to the training of a trial, or to each of several in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnstudy.search.leaving import BetweenValidations
from nnstudy.search.stage_work import StageWork
from nnstudy.search.trainings import OneTraining
from nnstudy.search.watching import Show, Watch
from nnstudy.training import Record, Training


class Attachments:
    """A watch, and what looks after the training between two validations.

    Args:
        work: The trial's stage.
        save: Writes a checkpoint.
    """

    def __init__(self, work: StageWork, save: Callable[[], None]) -> None:
        self._work = work
        self._save = save
        self.clear()

    def clear(self) -> None:
        """Forgets the training."""
        self._training: OneTraining | None = None
        self._watch: Watch | None = None
        self._between: BetweenValidations | None = None

    def attach(self, training: OneTraining, show: Show | None, measured: Any = None) -> None:
        """Attaches to a training, unless that was done.

        Args:
            training: Has its state loaded.
            show: Takes pictures; None: none are made.
            measured: What a watch had measured of it since its last validation.
        """
        if training is self._training:
            return
        self.clear()
        self._training = training
        self._watch = Watch(training, self._work.data.shape, show)
        if measured is not None:
            self._watch.load_state_dict(measured)
        if isinstance(training, Training):
            self._between = BetweenValidations(
                self._work.interruption, self._work.settings.checkpoint_every, self._save
            )
            training.callbacks.append(self._between)

    def observe(self, record: Record) -> None:
        """Adds to a record what the watch has seen."""
        if self._watch:
            self._watch.observe(record)

    def measured(self) -> dict[str, Any] | None:
        """Returns what the watch has measured since the last validation."""
        return self._watch.state_dict() if self._watch else None

    def saved(self) -> None:
        """Takes note that a checkpoint was written."""
        if self._between:
            self._between.saved()
