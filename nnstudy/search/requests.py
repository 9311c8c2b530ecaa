"""What people ask of a running study: to stop, to stop one trial, to try a point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna

_STOP = "nnstudy:stop"
_STOP_TRIAL = "nnstudy:stop/"


def stop_study(study: optuna.Study) -> None:
    """Asks every worker of a stage to end after its current epoch, with all saved."""
    study.set_user_attr(_STOP, True)


def stop_trial(study: optuna.Study, number: int) -> None:
    """Asks for the end of one trial after its current epoch; its best so far counts."""
    study.set_user_attr(f"{_STOP_TRIAL}{number}", True)


def resume(study: optuna.Study) -> None:
    """Takes back a request to stop."""
    if study.user_attrs.get(_STOP):
        study.set_user_attr(_STOP, False)


def is_study_stopped(study: optuna.Study) -> bool:
    """Tells whether the stage is asked to stop."""
    return bool(study.user_attrs.get(_STOP))


def is_trial_stopped(study: optuna.Study, number: int) -> bool:
    """Tells whether a trial is asked to stop."""
    return bool(study.user_attrs.get(f"{_STOP_TRIAL}{number}"))


def enqueue(study: optuna.Study, point: Mapping[str, Any], *, once: bool = False) -> None:
    """Asks for a point to be tried next; parameters it leaves out are sampled.

    Args:
        study: A stage's Optuna study.
        point: Values by name.
        once: Do nothing if the point was asked for before.
    """
    study.enqueue_trial(dict(point), skip_if_exists=once)
