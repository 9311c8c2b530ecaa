"""Trainings one after the other that count as one: folds of the data, or several seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from nnstudy.errors import UserError
from nnstudy.training.early_stopping import Direction
from nnstudy.training.loop import Training
from nnstudy.training.own_loop import OwnTraining
from nnstudy.training.record import Record
from nnstudy.training.scoring import best_record, score_of

SPREAD = "_std"
"""What is added to the metric's name for the standard deviation of the trainings' scores."""

SINGLE = "_single"
"""What is added to the metric's name for the score of the latest training alone."""


class RepeatedTraining:
    """Trains several times and yields a record after each training, of all until then.

    A record's step is how many trainings have ended. Its values are means over them, each taken
    where that training was best by the metric. To these come the metric's standard deviation
    (that of a sample, from two on), ``<metric>_std``, and the latest training's own score,
    ``<metric>_single``. Epochs, examples and seconds are sums.

    A state goes on inside of the training that runs, as exactly as that one's own does.

    Args:
        make: Makes a training, given its number from 0. The first one is made at once.
        count: How many.
        metric: Key of the records that a training is judged by.
        direction: ``maximize`` or ``minimize`` the metric.

    Attributes:
        running: The training that runs, or ran last.
        number: Its number.
        finished: The records of each training that has ended.
        history: The records so far.
        names: Of the values that trainings yield, without what others add to their records.
        ended: Why there are no more (``repeats``), or None.
        on_begin: Called with each training before it begins, also to go on.
        on_record: Called with each record of a training. What it raises leaves a state to go on
            from.

    Raises:
        UserError: While iterating, if a training yields nothing, or not the metric.
        Diverged: While iterating, if a training does.
    """

    def __init__(
        self,
        make: Callable[[int], Training | OwnTraining],
        count: int,
        *,
        metric: str,
        direction: Direction,
    ) -> None:
        self.count = count
        self._make = make
        self._metric = metric
        self._direction: Direction = direction
        self.number = 0
        self.running = make(0)
        self.finished: list[list[Record]] = []
        self.history: list[Record] = []
        self.names: set[str] = set()
        self.ended: str | None = None
        self.on_begin: Callable[[Training | OwnTraining], None] = lambda training: None
        self.on_record: Callable[[Record], None] = lambda record: None

    @property
    def continuable(self) -> bool:
        """Whether the training that runs has a state to go on from."""
        return isinstance(self.running, Training) or self.running.continuable

    @property
    def epochs(self) -> float:
        """Epochs of all trainings until now."""
        return sum(records[-1].epoch for records in self.histories)

    @property
    def seconds(self) -> float:
        """Time spent in all trainings until now."""
        ended = sum(records[-1].seconds for records in self.finished)
        return ended + (self.running.seconds if self._is_under_way else 0.0)

    def __iter__(self) -> Iterator[Record]:
        """Trains on, from where the state is, and yields a record after each training."""
        while self.ended is None:
            if not self._is_under_way:
                self.number += 1
                self.running = self._make(self.number)
            self.on_begin(self.running)
            for record in self.running:
                self.names.update(record.values)
                self.on_record(record)
            yield self._finish()

    @property
    def _is_under_way(self) -> bool:
        return self.number == len(self.finished)

    @property
    def best(self) -> list[Record]:
        """The best record of each training that has ended."""
        chosen = (best_record(one, self._metric, self._direction) for one in self.finished)
        return [record for record in chosen if record is not None]

    @property
    def histories(self) -> list[list[Record]]:
        """The records of each training that has any."""
        own = self.running.history
        return [*self.finished, own] if self._is_under_way and own else self.finished

    def _finish(self) -> Record:
        if not self.running.history:
            raise UserError("the training yielded no epoch")
        self.finished.append(list(self.running.history))
        self.history.append(self._mean())
        if len(self.finished) == self.count:
            self.ended = "repeats"
        return self.history[-1]

    def _mean(self) -> Record:
        best = self.best
        values = {
            name: float(np.mean([record.values[name] for record in best]))
            for name in best[0].values
            if name in self.names and all(name in record.values for record in best)
        }
        scores = [score_of(record, self._metric) for record in best]
        values[f"{self._metric}{SINGLE}"] = scores[-1]
        if len(scores) > 1:
            values[f"{self._metric}{SPREAD}"] = float(np.std(scores, ddof=1))
        return Record(
            step=len(self.finished),
            epoch=self.epochs,
            examples_seen=sum(records[-1].examples_seen for records in self.finished),
            seconds=self.seconds,
            values=values,
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns all that is needed to go on: tensors and JSON-ready values."""
        return {
            **self.curves_dict(),
            "number": self.number,
            "running": self.running.state_dict(),
            "finished": len(self.finished),
            "ended": self.ended,
        }

    def curves_dict(self) -> dict[str, Any]:
        """Returns the part of the state that holds records, JSON-ready: see ``curves_in``."""
        return {
            "history": [record.to_dict() for record in self.history],
            "repeats": {
                "names": sorted(self.names),
                "histories": [[record.to_dict() for record in one] for one in self.histories],
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state that ``state_dict`` gave; the training that ran is made anew.

        Raises:
            UserError: If the state is of a newer version.
        """
        if state["number"] != self.number:
            self.running = self._make(state["number"])
        self.number = state["number"]
        self.running.load_state_dict(state["running"])
        self.names, histories = curves_in(state)
        self.finished = histories[: state["finished"]]
        self.history = [Record.from_dict(record) for record in state["history"]]
        self.ended = state["ended"]


def curves_in(state: Mapping[str, Any]) -> tuple[set[str], list[list[Record]]]:
    """Returns ``names`` and ``histories`` of a state; nothing where it is of a single training."""
    kept = state.get("repeats", {"names": [], "histories": []})
    histories = [[Record.from_dict(one) for one in records] for records in kept["histories"]]
    return set(kept["names"]), histories
