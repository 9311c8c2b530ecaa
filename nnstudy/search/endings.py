"""How trials end, for Optuna, for MLflow and in words."""

from __future__ import annotations

import math
import traceback
from dataclasses import dataclass
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from nnstudy.errors import UserError
from nnstudy.tracking import Status

ATTRIBUTE = "nnstudy"
"""User attribute of a finished trial that holds what is known of it."""

Label = Literal["complete", "pruned", "diverged", "failed"]

STATUSES: dict[str, Status] = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "diverged": "FAILED",
    "failed": "FAILED",
}
"""MLflow's status of each ending."""


def facts_of(trial: FrozenTrial) -> dict[str, Any]:
    """Returns what is known of a finished trial; nothing of one that is not."""
    facts: dict[str, Any] = trial.user_attrs.get(ATTRIBUTE, {})
    return facts


def ending_of(trial: FrozenTrial) -> str:
    """Returns how a finished trial ended: complete, pruned, diverged or failed."""
    fallback = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
    return str(facts_of(trial).get("ended") or fallback.get(trial.state, "failed"))


@dataclass(frozen=True)
class Ending:
    """How a trial ended.

    Attributes:
        state: Optuna's state.
        reason: Why, in words.
        label: One word for tables: complete, pruned, diverged or failed.
        traceback: Of a failed trial.
    """

    state: TrialState
    reason: str
    label: Label
    traceback: str = ""


def reached(trial: FrozenTrial) -> float | None:
    """Returns a trial's value; where it was pruned, its best so far, which it reported last."""
    if trial.state is TrialState.COMPLETE:
        return trial.value
    last = trial.intermediate_values.get(max(trial.intermediate_values, default=0))
    return last if last is not None and math.isfinite(last) else None


def complete(reason: str) -> Ending:
    """A trial whose training ended by itself or on request."""
    return Ending(TrialState.COMPLETE, reason, "complete")


def pruned(reason: str) -> Ending:
    """A trial without hope."""
    return Ending(TrialState.PRUNED, reason, "pruned")


def diverged(reason: str) -> Ending:
    """A trial whose loss became NaN: pruned for Optuna, whose samplers ignore failed ones."""
    return Ending(TrialState.PRUNED, f"diverged: {reason}", "diverged")


def failed(error: BaseException) -> Ending:
    """A trial that raised; to be called while the exception is handled."""
    own = isinstance(error, UserError)
    reason = str(error) if own else f"{type(error).__name__}: {error}"
    return Ending(TrialState.FAIL, reason, "failed", traceback.format_exc())


def killed_its_workers(deaths: int) -> Ending:
    """A trial that no worker has survived."""
    return Ending(
        TrialState.FAIL,
        f"its worker died {deaths} times in a row before an epoch was finished. Was there enough"
        " memory? Look at the worker's last output, and at the machine's log for its end",
        "failed",
    )
