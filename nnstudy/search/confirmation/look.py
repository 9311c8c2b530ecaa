"""The one look at the test part that a confirmation takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from nnstudy.data import Data
from nnstudy.errors import UserError
from nnstudy.search.confirmation.outcome import Confirmation
from nnstudy.search.confirmation.taken_look import TakenLook, taken_look
from nnstudy.search.rebuilding import rebuild
from nnstudy.search.settings import Settings
from nnstudy.search.test_looks import complete_look, record_look, test_looks
from nnstudy.study import Study


def look_once(
    storage: RDBStorage,
    study: optuna.Study,
    confirmation: Confirmation,
    *,
    declared: Study,
    data: Data,
    settings: Settings,
    fetch: Callable[[str], Path],
) -> TakenLook | None:
    """Measures the first configuration's networks on the test part, unless that was done before.

    The look is recorded first, and only when nothing else is left that could fail. One that was
    recorded and broken off, so that nobody has seen its scores, is completed.

    Args:
        storage: Optuna's storage.
        study: The confirmation's Optuna study.
        confirmation: What came of it.
        declared: The study, from its file.
        data: Its data.
        settings: Device and places.
        fetch: Fetches a checkpoint that is kept in MLflow and returns its file.

    Returns:
        The first look, also where it was taken earlier; None where no configuration has come
        through all its trainings.

    Raises:
        UserError: If the networks cannot be had any more.
    """
    if (taken := taken_look(study)) is not None:
        return taken
    first = confirmation.first
    if first is None:
        return None
    if not confirmation.plan.data["examples"]["test"]:
        raise UserError(f"the test part of {data.name} is empty")
    trials = confirmation.of(first)
    networks = [
        rebuild(declared, confirmation.plan, data, trial, settings, fetch) for trial in trials
    ]
    look = {"trial": first.trial, "trials": [trial.number for trial in trials]}
    looks = test_looks(study)
    recorded = [place for place, one in enumerate(looks) if one.items() >= look.items()]
    place = recorded[0] if recorded else len(looks)

    def record() -> None:
        if not recorded:
            record_look(storage, study, look)
            recorded.append(place)

    # Each by its own data, whose normalisation is its fold's where there are folds.
    scores = [one.measure(one.data.open_test(record), data, settings.device) for one in networks]
    complete_look(storage, study, place, scores=scores)
    return taken_look(study)
