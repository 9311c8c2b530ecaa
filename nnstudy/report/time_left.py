"""How long the rest of a stage will take."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def time_left(
    durations: Sequence[float], ages: Sequence[float], remaining: int, workers: int
) -> float | None:
    """Returns the expected time until a stage is done, in seconds.

    The remaining trials are taken to last as long as the finished ones did on average; of a
    running trial what is over is taken off. The work is then divided among the workers.

    Args:
        durations: Of the finished trials, in seconds.
        ages: Of the running trials, in seconds; they are among the remaining ones.
        remaining: Trials that are not finished.
        workers: Workers that are alive.

    Returns:
        None while nothing is known: no trial is finished yet, or nobody works.
    """
    if remaining <= 0:
        return 0.0
    if not durations or workers < 1:
        return None
    mean = statistics.fmean(durations)
    begun = sum(max(0.0, mean - age) for age in ages)
    return (begun + mean * max(0, remaining - len(ages))) / min(workers, remaining)
