"""After which validations a trial reports to Optuna and may be pruned."""

from __future__ import annotations

import math

_GROWTH = 1.2


def is_reported(step: int, last: int) -> bool:
    """Tells whether a trial reports after a validation.

    A report and a pruning decision cost some five milliseconds, as much as half an epoch of
    a small network, so they thin out: every one of the first five, then each time the
    training has grown by a fifth, and the last. It depends on the step alone: if it depended
    on the clock, the same seed would not give the same trials twice.

    Args:
        step: Validations completed, from 1.
        last: The last one there can be.
    """
    if step <= 5 or step >= last:
        return True
    return math.floor(math.log(step, _GROWTH)) > math.floor(math.log(step - 1, _GROWTH))
