"""Which trials of a stage count as good."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from nnstudy.search.endings import ending_of
from nnstudy.study import Direction

GOOD_SHARE = 0.25
FEWEST_GOOD = 3


def ranked(trials: Iterable[FrozenTrial], direction: Direction) -> list[FrozenTrial]:
    """Returns the trials that tell something of their parameters, the best first.

    Complete ones by their value; then pruned ones, those first that came further; then those
    that diverged. Trials that failed say nothing, since an exception is no score, and neither do
    those that are not finished.
    """
    told = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    return sorted(told, key=lambda trial: (*_rank(trial, direction), trial.number))


def good(trials: Sequence[FrozenTrial], *, share: float = GOOD_SHARE) -> list[FrozenTrial]:
    """Returns the best share of ranked trials, at least three, never one that diverged.

    Where fewer than three came to an end without diverging these are all there are.
    """
    count = max(FEWEST_GOOD, math.ceil(share * len(trials)))
    return [trial for trial in trials[:count] if ending_of(trial) != "diverged"]


def _rank(trial: FrozenTrial, direction: Direction) -> tuple[float, float, float]:
    sign = -1.0 if direction == "maximize" else 1.0
    if trial.state is TrialState.COMPLETE and trial.value is not None:
        return (0.0, 0.0, sign * trial.value)
    if ending_of(trial) == "diverged":
        return (2.0, 0.0, 0.0)
    step = max(trial.intermediate_values, default=0)
    reached = trial.intermediate_values.get(step, math.nan)
    return (1.0, -float(step), sign * reached if math.isfinite(reached) else math.inf)
