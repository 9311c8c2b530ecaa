"""Finished trials of which MLflow lacks something that a checkpoint still has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from nnstudy.doctor.finding import Finding
from nnstudy.doctor.snapshot import Sides, StageSnapshot
from nnstudy.search.delivery import deliver_late

Repair = Callable[[], object]


def compare_undelivered(snapshot: StageSnapshot, sides: Sides) -> Iterator[Finding]:
    """Yields the finished trials whose last state is still there."""
    for number, file in snapshot.owed.items():
        fix, repair = redelivery(snapshot, sides, number)
        yield Finding(
            "undelivered",
            snapshot.plan.stage,
            number,
            f"{file} was kept because MLflow lacks something of the trial",
            fix,
            repair,
        )


def redelivery(snapshot: StageSnapshot, sides: Sides, number: int) -> tuple[str, Repair | None]:
    """Returns what can be delivered late of a trial, in words, and what does it."""
    if number not in snapshot.owed or sides.tracker is None:
        return "", None
    stored = snapshot.stored
    deliver = partial(
        deliver_late,
        sides.storage,
        sides.tracker,
        stored.plan,
        stored.optuna_study,
        sides.settings,
    )
    return "deliver the rest and remove the file", deliver
