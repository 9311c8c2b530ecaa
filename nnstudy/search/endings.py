"""How trials end, for Optuna, for MLflow and in words."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Literal

from optuna.trial import TrialState

from nnstudy.errors import UserError

ATTRIBUTE = "nnstudy"
"""User attribute of a finished trial that holds what is known of it."""

Status = Literal["FINISHED", "KILLED", "FAILED"]


@dataclass(frozen=True)
class Ending:
    """How a trial ended.

    Attributes:
        state: Optuna's state.
        status: MLflow's status.
        reason: Why, in words.
        label: One word for tables: complete, pruned, diverged or failed.
        traceback: Of a failed trial.
    """

    state: TrialState
    status: Status
    reason: str
    label: str
    traceback: str = ""


def complete(reason: str) -> Ending:
    """A trial whose training ended by itself or on request."""
    return Ending(TrialState.COMPLETE, "FINISHED", reason, "complete")


def pruned(reason: str) -> Ending:
    """A trial without hope."""
    return Ending(TrialState.PRUNED, "KILLED", reason, "pruned")


def diverged(reason: str) -> Ending:
    """A trial whose loss became NaN: pruned for Optuna, whose samplers ignore failed ones."""
    return Ending(TrialState.PRUNED, "FAILED", f"diverged: {reason}", "diverged")


def failed(error: BaseException) -> Ending:
    """A trial that raised; to be called while the exception is handled."""
    own = isinstance(error, UserError)
    reason = str(error) if own else f"{type(error).__name__}: {error}"
    return Ending(TrialState.FAIL, "FAILED", reason, "failed", traceback.format_exc())
