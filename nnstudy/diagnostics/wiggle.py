"""How much the loss jumps from minibatch to minibatch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

# The mean absolute difference of two independent normal numbers is 2/sqrt(pi) of their
# standard deviation.
_DEVIATION = math.sqrt(math.pi) / 2


class LossWiggle:
    """Measures the wiggle of minibatch losses, relative to their mean.

    For losses ``l_1, ..., l_n`` it is ``(sqrt(pi) / 2) mean|l_{i+1} - l_i| / mean|l_i|``. For
    noise about a slow trend the first part is the noise's standard deviation, whatever the
    trend, since successive differences hardly contain it (von Neumann and others 1941, "The
    mean square successive difference"); with absolute values rather than squares, so that one
    jump does not decide. It does not depend on the loss's unit.

    It is related to the size of the minibatch: the spread of a mean of B examples falls as
    ``1 / sqrt(B)``. With one example it is large, with the whole training set next to nothing
    unless the learning rate is too high (CS231n, "Learning", section "Loss function").
    """

    def __init__(self) -> None:
        self._previous: float | None = None
        self._jumps = 0.0
        self._total = 0.0
        self._count = 0

    def add(self, losses: Iterable[float]) -> None:
        """Adds losses of minibatches, in their order."""
        for loss in losses:
            if self._previous is not None:
                self._jumps += abs(loss - self._previous)
            self._previous = loss
            self._total += abs(loss)
            self._count += 1

    @property
    def value(self) -> float | None:
        """The wiggle; None of fewer than three losses, or where all are zero."""
        if self._count < 3 or not self._total:
            return None
        return _DEVIATION * (self._jumps / (self._count - 1)) / (self._total / self._count)

    def state_dict(self) -> dict[str, Any]:
        """Returns what is needed to go on."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state that ``state_dict`` gave."""
        vars(self).update(state)
