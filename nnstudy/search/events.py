"""What a search tells its audience: one event each, ready for JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "stage",  # a stage begins: stage, trials, finished, epochs, metric, direction, workers
    "cost",  # what a launch will cost: trials, epochs, epoch_seconds, seconds, workers
    "trial",  # a trial begins or is continued: stage, trial, params, epoch, epochs
    "epoch",  # a validation is done: stage, trial, step, epoch, score, best, seconds
    "end",  # a trial has ended: stage, trial, state, reason, value, epoch, seconds, finished
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
        """Returns the event as one line of JSON."""
        return json.dumps({"event": self.kind, **self.values})

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


Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """An audience that does not listen."""
