"""What several networks answer to the same examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """What M networks answer to N examples.

    Attributes:
        scores: What the networks give, ``(M, N, K)``: a score for each class, or the numbers.
        probabilities: Of the K classes, likewise; None for numbers.
        targets: ``(N,)`` class indices, or ``(N, K)`` numbers.
    """

    scores: Array
    probabilities: Array | None
    targets: NDArray[Any]

    def __len__(self) -> int:
        """Returns the number of networks."""
        return len(self.scores)

    @property
    def examples(self) -> int:
        """The number of examples."""
        return int(self.scores.shape[1])

    def of(self, members: Index) -> Answers:
        """Returns the answers of some of the networks."""
        kept = None if self.probabilities is None else self.probabilities[members]
        return Answers(self.scores[members], kept, self.targets)

    def to(self, examples: Index) -> Answers:
        """Returns the answers to some of the examples."""
        # An index in place of take would leave the answers of one network scattered in memory.
        probabilities = self.probabilities
        kept = None if probabilities is None else probabilities.take(examples, axis=1)
        return Answers(self.scores.take(examples, axis=1), kept, self.targets[examples])
