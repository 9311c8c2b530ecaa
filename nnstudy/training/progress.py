"""Where a training stands inside its budget, in minibatches."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnstudy.training.recipe import Steps


@dataclass(frozen=True)
class Budget:
    """How many minibatches a training has and after which of them it validates.

    Attributes:
        steps: Minibatches in all, and in one epoch.
        interval: Minibatches between two validations.
    """

    steps: Steps
    interval: int

    @classmethod
    def of(
        cls, examples: int, batch_size: int, epochs: float, validate_every: int | None
    ) -> Budget:
        """Works the budget out.

        Args:
            examples: Training examples.
            batch_size: Examples in a minibatch; the last one of an epoch may be smaller.
            epochs: Largest number of epochs, may be a fraction.
            validate_every: Training examples between two validations; None: an epoch.
        """
        per_epoch = math.ceil(examples / batch_size)
        total = max(1, math.ceil(epochs * per_epoch - 1e-9))
        interval = per_epoch if validate_every is None else max(1, validate_every // batch_size)
        return cls(Steps(total, per_epoch), interval)

    def next_validation(self, position: int) -> int:
        """Returns the minibatch after which the next validation comes."""
        return min(int(self.steps), (position // self.interval + 1) * self.interval)

    @property
    def validations(self) -> int:
        """The number of validations of a training that is not stopped early."""
        return math.ceil(self.steps / self.interval)
