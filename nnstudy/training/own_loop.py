"""A training loop of the user's own, made to look like ours."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from torch import nn

from nnstudy.errors import UserError
from nnstudy.training.early_stopping import EarlyStopping, Patience
from nnstudy.training.loop import Diverged
from nnstudy.training.recipe import OwnLoop
from nnstudy.training.record import Record
from nnstudy.training.seeds import seed_everything


class OwnTraining:
    """Yields the records of a user's loop, with early stopping and a largest number of epochs.

    Args:
        loop: The user's loop.
        epochs: Largest number of records that are taken.
        early_stopping: When to end before; None: never.
        metric: Key of the records to watch.
        direction: ``maximize`` or ``minimize`` the metric.
        seed: Whole numbers. Python's, NumPy's and PyTorch's generators are seeded from them and
            the epoch before each epoch, so that a loop that is continued draws what it would
            have drawn; None: they are left alone.

    Attributes:
        network: The loop's network, or None.
        history: The records so far.
        ended: Why the training ended by itself, or None.
        continuable: Whether the loop has a state to go on from.
    """

    def __init__(
        self,
        loop: OwnLoop,
        *,
        epochs: float,
        early_stopping: EarlyStopping | None,
        metric: str,
        direction: Literal["minimize", "maximize"],
        seed: Sequence[int] | None = None,
    ) -> None:
        self.network: nn.Module | None = loop.network
        self.average = None
        self.optimizer = None
        self.history: list[Record] = []
        self.ended: str | None = None
        self.seconds = 0.0
        self._loop = loop.epochs
        self._metric = metric
        self._epochs = math.ceil(epochs)
        self._seed = seed
        self._patience = Patience(early_stopping, direction) if early_stopping else None
        self.continuable = all(
            hasattr(self._loop, name) for name in ("state_dict", "load_state_dict")
        )

    def __iter__(self) -> Iterator[Record]:
        """Yields the loop's records, from where its state is."""
        epochs = iter(self._loop)
        while self.ended is None:
            started = time.perf_counter()
            if self._seed is not None:
                seed_everything(*self._seed, len(self.history))
            values = next(epochs, None)
            self.seconds += time.perf_counter() - started
            if values is None:
                self.ended = "epochs"
                break
            yield self._record(values)

    def _record(self, values: Mapping[str, float]) -> Record:
        if not isinstance(values, Mapping):
            raise UserError(
                "a training loop of your own must yield a mapping an epoch, such as"
                f" {{'loss/valid': 0.3}}, got {type(values).__name__}"
            )
        if self._metric not in values:
            raise UserError(
                f"the metric {self._metric!r} is not among the values that your training loop"
                f" yields: {', '.join(sorted(values))}"
            )
        step = len(self.history) + 1
        numbers = {name: float(value) for name, value in values.items()}
        for name, value in numbers.items():
            is_loss = name.split("/")[0] == "loss"
            if (is_loss or name == self._metric) and not math.isfinite(value):
                raise Diverged(step, "training" if name == "loss/train" else "validation")
        examples_seen = int(numbers.pop("examples_seen", 0))
        epoch = numbers.pop("epoch", float(step))
        record = Record(step, epoch, examples_seen, self.seconds, numbers)
        self.history.append(record)
        if self._patience and self._patience.update(numbers[self._metric]):
            self.ended = "early stopping"
        elif step >= self._epochs:
            self.ended = "epochs"
        return record

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the loop (where it has one) and what is counted here."""
        return {
            "ended": self.ended,
            "seconds": self.seconds,
            "history": [record.to_dict() for record in self.history],
            "patience": self._patience.state_dict() if self._patience else None,
            "network": self.network.state_dict() if self.network else None,
            "loop": self._loop.state_dict() if self.continuable else None,  # type: ignore[attr-defined] # asked above
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state; only for a loop that is ``continuable``."""
        self.ended = state["ended"]
        self.seconds = state["seconds"]
        self.history = [Record.from_dict(record) for record in state["history"]]
        if self._patience:
            self._patience.load_state_dict(state["patience"])
        if self.network:
            self.network.load_state_dict(state["network"])
        self._loop.load_state_dict(state["loop"])  # type: ignore[attr-defined] # asked by the caller
