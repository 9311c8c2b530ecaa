"""Looks at the test part of a study's data: each is recorded before it is taken."""

from __future__ import annotations

import datetime
from typing import Any

import optuna
from optuna.storages import RDBStorage

from nnstudy.search.locks import study_lock

_TEST_LOOKS = "nnstudy:test_looks"


def test_looks(study: optuna.Study) -> list[dict[str, Any]]:
    """Returns the looks at the test part that were taken for a stage.

    Each has ``when`` and ``trial``; one of a confirmation has ``trials`` and, once it is over,
    ``scores`` as well.
    """
    looks: list[dict[str, Any]] = study.user_attrs.get(_TEST_LOOKS, [])
    return looks


def record_look(storage: RDBStorage, study: optuna.Study, look: dict[str, Any]) -> None:
    """Records a look, with the time."""
    with study_lock(storage, study.study_name):
        now = datetime.datetime.now(datetime.UTC).isoformat()
        study.set_user_attr(_TEST_LOOKS, [*test_looks(study), {"when": now, **look}])


def complete_look(storage: RDBStorage, study: optuna.Study, place: int, **found: Any) -> None:
    """Adds what was found to a look that was recorded.

    Args:
        storage: Optuna's storage.
        study: The stage's Optuna study.
        place: Of the look among the stage's looks.
        found: What to add.
    """
    with study_lock(storage, study.study_name):
        looks = [dict(look) for look in test_looks(study)]
        looks[place] |= found
        study.set_user_attr(_TEST_LOOKS, looks)
