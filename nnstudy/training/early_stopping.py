"""Ending a training when it no longer improves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nnstudy.errors import UserError

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class EarlyStopping:
    """When to end a training before its epochs are over.

    Attributes:
        patience: Validations in a row without improvement after which the training ends.
        min_delta: Smallest change of the metric that counts as an improvement.
        max_epochs: A cap on the epochs, may be a fraction; None: as many as the stage has.
    """

    patience: int = 10
    min_delta: float = 0.0
    max_epochs: float | None = None

    def __post_init__(self) -> None:
        """Raises UserError where a value cannot be meant."""
        if self.patience < 1:
            raise UserError(f"EarlyStopping(patience=...) must be at least 1, got {self.patience}")
        if not self.min_delta >= 0:
            raise UserError(
                f"EarlyStopping(min_delta=...) must not be negative, got {self.min_delta}"
            )
        if self.max_epochs is not None and not self.max_epochs > 0:
            raise UserError(f"EarlyStopping(max_epochs=...) must be above 0, got {self.max_epochs}")


class Patience:
    """Counts validations without improvement.

    NaN is never an improvement. A slow rise in steps smaller than ``min_delta`` counts once it
    has added up to ``min_delta`` since the last improvement that counted.

    Attributes:
        best: The best value so far, by however little; None before the first one.
        waited: Validations since the last improvement that counted.
    """

    def __init__(self, rule: EarlyStopping, direction: Direction) -> None:
        """Starts counting.

        Args:
            rule: How long to wait, and for what.
            direction: ``"maximize"`` or ``"minimize"``.

        Raises:
            UserError: If there is no such direction.
        """
        if direction not in ("maximize", "minimize"):
            raise UserError(f"the direction must be maximize or minimize, got {direction!r}")
        self._rule = rule
        self._sign = 1.0 if direction == "maximize" else -1.0
        self.best: float | None = None
        self.waited = 0
        self._reference: float | None = None

    def update(self, value: float) -> bool:
        """Takes the metric of one more validation.

        Returns:
            Whether the training should stop.
        """
        if self._gain(value, self.best) > 0:
            self.best = value
        gain = self._gain(value, self._reference)
        if gain > 0 and gain >= self._rule.min_delta:
            self._reference = value
            self.waited = 0
        else:
            self.waited += 1
        return self.waited >= self._rule.patience

    def state_dict(self) -> dict[str, Any]:
        """Returns the counters, ready for JSON."""
        return {"best": self.best, "reference": self._reference, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from counters that ``state_dict`` gave."""
        self.best = state["best"]
        self._reference = state["reference"]
        self.waited = state["waited"]

    def _gain(self, value: float, reference: float | None) -> float:
        """Returns by how much a value is better; NaN, which is above nothing, stays NaN."""
        if reference is None:
            return float("nan") if value != value else float("inf")
        return self._sign * (value - reference)
