"""What is known of a running launch, from the events it emits."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nnstudy.report.time_left import time_left
from nnstudy.search.events import Event


@dataclass
class Running:
    """A trial that is being trained.

    Attributes:
        number: Its number.
        params: Its parameters.
        epoch: Epochs done.
        epochs: The most there will be.
        score: The last one, or None.
        began: When this process heard of it.
    """

    number: int
    params: dict[str, Any]
    epoch: float
    epochs: float
    began: float
    score: float | None = None


@dataclass
class Best:
    """The best trial so far.

    Attributes:
        value: What it reached.
        number: Its number; None for one of an earlier launch.
        params: Its parameters, where they are known.
    """

    value: float
    number: int | None = None
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class Progress:
    """The state of a launch.

    Attributes:
        clock: Returns seconds.
        study: Name of the study.
        stage: Name of the present stage.
        metric: What is optimised.
        trials: Finished trials that the stage ends with.
        finished: Those it has.
        endings: How the trials of this launch ended, in the present stage.
        best: The best so far in the present stage, or None.
        running: Trials that are being trained, by number.
        checked: Name of the last pre-flight check that came to its result.
    """

    clock: Callable[[], float] = time.monotonic
    study: str = ""
    stage: str = ""
    metric: str = ""
    trials: int = 0
    finished: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    best: Best | None = None
    running: dict[int, Running] = field(default_factory=dict)
    checked: str = ""
    _maximize: bool = True
    _workers: int = 1
    _durations: list[float] = field(default_factory=list)

    def hear(self, event: Event) -> None:
        """Takes note of an event."""
        handler = {
            "check": self._on_check,
            "stage": self._on_stage,
            "trial": self._on_trial,
            "epoch": self._on_epoch,
            "end": self._on_end,
        }.get(event.kind)
        if handler:
            handler(event.values)

    def seconds_left(self) -> float | None:
        """Returns the expected time until the stage is done; None while it is not known."""
        now = self.clock()
        ages = [now - trial.began for trial in list(self.running.values())]
        return time_left(self._durations, ages, self.trials - self.finished, self._workers)

    def _on_check(self, values: dict[str, Any]) -> None:
        self.checked = values["check"]

    def _on_stage(self, values: dict[str, Any]) -> None:
        self.study, self.stage = values["study"], values["stage"]
        self.trials, self.finished = values["trials"], values["finished"]
        self.metric, self._workers = values["metric"], values["workers"]
        self._maximize = values["direction"] == "maximize"
        best = values.get("best")
        self.best = None if best is None else Best(best)
        self.endings.clear()
        self.running.clear()
        self._durations.clear()

    def _on_trial(self, values: dict[str, Any]) -> None:
        self.running[values["trial"]] = Running(
            values["trial"], values["params"], values["epoch"], values["epochs"], self.clock()
        )

    def _on_epoch(self, values: dict[str, Any]) -> None:
        trial = self.running.get(values["trial"])
        if trial:
            trial.epoch, trial.score = values["epoch"], values["score"]
        # A running trial may be the best already, but may yet be failed: it counts at its end.

    def _on_end(self, values: dict[str, Any]) -> None:
        trial = self.running.pop(values["trial"], None)
        if trial:
            self._durations.append(self.clock() - trial.began)
        self.finished += 1
        self.endings[values["state"]] += 1
        value = values["value"]
        if values["state"] == "complete" and value is not None and self._is_better(value):
            self.best = Best(value, values["trial"], trial.params if trial else {})

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return True
        return value > self.best.value if self._maximize else value < self.best.value
