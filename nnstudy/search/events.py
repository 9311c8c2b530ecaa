"""What a search tells its audience: one event each, ready for JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "stage",  # a stage begins: study, stage, trials, finished, epochs, metric, direction,
    # workers, best
    "cost",  # what a launch will cost at most: study, trials (still to be run), epochs,
    # epoch_seconds, seconds, workers, storage, tracking
    "trial",  # a trial begins or is continued: stage, trial, params, epoch, epochs
    "epoch",  # a validation is done: stage, trial, step, epoch, score, best, seconds
    "end",  # a trial has ended: stage, trial, state, reason, value, epochs, best_epoch, seconds
    "message",  # something to be told in words: text
    "warning",  # something to be told in words that wants attention: text
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
