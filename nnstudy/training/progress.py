"""Where a training stands inside its budget, in minibatches and in examples."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnstudy.training.recipe import Steps


@dataclass(frozen=True)
class Budget:
    """How many minibatches a training has and after which of them it validates.

    Validations are spaced in examples, not in minibatches, so that the same step means the same
    amount of training for every minibatch size: a pruner compares trials step by step.

    Attributes:
        steps: Minibatches in all, and in one epoch.
        examples: Training examples in an epoch.
        batch_size: Examples in a minibatch; the last one of an epoch may be smaller.
        interval: Training examples between two validations.
        validations: The largest step: that of the last validation.
    """

    steps: Steps
    examples: int
    batch_size: int
    interval: int
    validations: int

    @classmethod
    def of(
        cls, examples: int, batch_size: int, epochs: float, validate_every: int | None
    ) -> Budget:
        """Works the budget out.

        Args:
            examples: Training examples.
            batch_size: Examples in a minibatch.
            epochs: Largest number of epochs, may be a fraction.
            validate_every: Training examples between two validations; None: an epoch.
        """
        per_epoch = math.ceil(examples / batch_size)
        wanted = max(1, math.ceil(epochs * examples - 1e-9))  # of 0.1 * 30 just 3 is meant
        whole, rest = divmod(wanted, examples)
        total = whole * per_epoch + math.ceil(rest / batch_size)
        interval = validate_every or examples
        validations = math.ceil(wanted / interval)
        return cls(Steps(total, per_epoch), examples, batch_size, interval, validations)

    def examples_at(self, position: int) -> int:
        """Returns the examples seen after a number of minibatches, with repetition."""
        epochs, minibatches = divmod(position, self.steps.per_epoch)
        return epochs * self.examples + min(minibatches * self.batch_size, self.examples)

    def next_validation(self, position: int) -> int:
        """Returns the minibatch after which the next validation comes."""
        wanted = (self.examples_at(position) // self.interval + 1) * self.interval
        epochs, examples = divmod(wanted, self.examples)
        due = epochs * self.steps.per_epoch + math.ceil(examples / self.batch_size)
        return min(int(self.steps), due)

    def step_at(self, position: int) -> int:
        """Returns the step of a validation: how many intervals of examples have been seen.

        Steps are left out where a minibatch is larger than the interval.
        """
        if position >= self.steps:
            return self.validations
        return self.examples_at(position) // self.interval

    @property
    def minibatches_between(self) -> int:
        """About how many minibatches lie between two validations."""
        return max(1, min(int(self.steps), self.interval // self.batch_size))
