"""What a search tells its audience: one event each, ready for JSON."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "check",  # a pre-flight check has come to its result: study, check, kind, outcome, found,
    # advice, figures, params
    "stage",  # a stage begins: study, stage, trials, finished, epochs, folds, seeds,
    # metric, direction, workers, best
    "cost",  # what a launch will cost at most: study, trials (still to be run), epochs,
    # epoch_seconds, seconds, workers, storage, tracking
    "trial",  # a trial begins or is continued: stage, trial, params, epoch, epochs
    "epoch",  # a validation is done: stage, trial, step, epoch, score, best, seconds
    "end",  # a trial has ended: stage, trial, state, reason, value, epochs, best_epoch, seconds,
    # scores (of its trainings, where there are several)
    "message",  # something to be told in words: text
    "warning",  # something to be told in words that wants attention: text
    "quick",  # a validation of a quick look: model, rate, epoch, examples_seen, seconds, loss_train,
    # loss_valid, accuracy_valid
    "output",  # a line that a worker printed: text
    "error",  # a worker gives up: text, exit_code, traceback (of a defect, else None)
]


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        kind: What happened; decides which values there are.
        values: JSON-ready values.
    """

    kind: Kind
    values: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Returns the event as one line of JSON; NaN and infinities, which it lacks, are null."""
        return json.dumps(_finite({"event": self.kind, **self.values}), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Event:
        """Makes the event that ``to_json`` gave.

        Raises:
            ValueError: If the line is none.
        """
        values = json.loads(line)
        if not isinstance(values, dict) or "event" not in values:
            raise ValueError("not an event")
        return cls(values.pop("event"), values)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """An audience that does not listen."""


@contextmanager
def warnings_told(emit: Emit) -> Iterator[None]:
    """Tells what this package logs as events, which would tear a display on standard error."""
    teller = _Teller(emit)
    logger = logging.getLogger("nnstudy")
    before = logger.propagate
    logger.addHandler(teller)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(teller)
        logger.propagate = before


class _Teller(logging.Handler):
    def __init__(self, tell: Emit) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(Event("warning", {"text": record.getMessage()}))
