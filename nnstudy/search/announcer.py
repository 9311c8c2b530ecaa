"""What a search's audience is told of one trial."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from nnstudy.search.endings import Ending
from nnstudy.search.events import Emit, Event, Kind
from nnstudy.search.plan import Plan
from nnstudy.training import Record

_SHOW_SECONDS = 0.2


class Announcer:
    """Emits the events of a trial, those of its epochs a few times a second at most.

    Args:
        emit: The audience.
        plan: The trial's stage.
        number: Of the trial.
    """

    def __init__(self, emit: Emit, plan: Plan, number: int) -> None:
        self._emit = emit
        self._plan = plan
        self._number = number
        self._shown = -math.inf

    def say(self, text: str) -> None:
        """Tells something in words."""
        self._emit(Event("message", {"text": text}))

    def begun(self, params: Mapping[str, Any], epoch: float) -> None:
        """Tells that the trial begins, or after which epoch it is continued."""
        epochs = self._plan.epochs * self._plan.repeats
        self._tell("trial", params=dict(params), epoch=epoch, epochs=epochs)

    def validated(self, record: Record, score: float, best: float) -> None:
        """Tells of a validation, unless that was done a moment ago."""
        if time.monotonic() - self._shown < _SHOW_SECONDS:
            return
        self._shown = time.monotonic()
        self._tell(
            "epoch",
            step=record.step,
            epoch=record.epoch,
            score=score,
            best=best,
            seconds=record.seconds,
        )

    def ended(self, ending: Ending, value: float | None, facts: Mapping[str, Any]) -> None:
        """Tells how the trial ended."""
        chosen = {name: facts[name] for name in ("epochs", "best_epoch", "seconds")}
        chosen["scores"] = [one["score"] for one in facts.get("repeats", ())]
        self._tell("end", state=ending.label, reason=ending.reason, value=value, **chosen)

    def _tell(self, kind: Kind, **values: Any) -> None:
        self._emit(Event(kind, {"stage": self._plan.stage, "trial": self._number, **values}))
