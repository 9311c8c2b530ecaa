"""A stored study examined: do Optuna, MLflow and the checkpoints tell the same?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

from sqlalchemy.exc import SQLAlchemyError

from nnstudy.doctor.checkpoint_files import compare_leftovers, compare_strangers, compare_weights
from nnstudy.doctor.curves import compare_curves
from nnstudy.doctor.finding import Finding
from nnstudy.doctor.leases import compare_leases
from nnstudy.doctor.runs import compare_runs
from nnstudy.doctor.snapshot import Sides, StageSnapshot, take_snapshots
from nnstudy.doctor.stage_runs import compare_stage_run
from nnstudy.doctor.undelivered import compare_undelivered
from nnstudy.errors import UserError
from nnstudy.search.locks import LockStuck, study_lock
from nnstudy.secret_urls import scrub
from nnstudy.tracking.quiet import quietly

LOOK_AGAIN_SECONDS = 3.0

_COMPARISONS = (
    compare_undelivered,
    compare_runs,
    compare_curves,
    compare_stage_run,
    compare_weights,
    compare_leftovers,
    compare_leases,
)
"""In the order in which findings are best put right: what is delivered needs no more."""


def compare(sides: Sides, *, pause: float = LOOK_AGAIN_SECONDS) -> list[Finding]:
    """Returns what differs between Optuna, MLflow and the checkpoints of a study.

    Nothing is changed. What differs may be work in progress, as a trial is told to one side
    after the other. So there is a second look, and only what is found both times counts.

    Args:
        sides: What is compared.
        pause: Seconds between the looks.

    Raises:
        UserError: If MLflow goes away meanwhile.
    """
    from mlflow.exceptions import MlflowException

    try:
        first = list(_look(sides))
        if not any(found.is_difference and found.kind != "away" for found in first):
            return first
        time.sleep(pause)
        return [found for found in _look(sides) if found in first]
    except MlflowException as error:
        raise UserError(
            f"MLflow at {sides.mlflow.masked_uri} went away while it was looked at:"
            f" {sides.mlflow.location.scrub(error)[:300]}"
        ) from None


def reconcile(sides: Sides, findings: list[Finding]) -> Iterator[tuple[Finding, str]]:
    """Puts right what can be put right, one by one, and yields each with the reason why not.

    Where a worker could come in between, a repair has the stage's lock, under which no trial
    can be begun or taken over, and looks again whether somebody has.

    Args:
        sides: What was compared.
        findings: As ``compare`` returned them.

    Yields:
        A finding and the reason why it could not be put right, empty where it was.

    Raises:
        UserError: If somebody holds the stage's lock for long.
    """
    from mlflow.exceptions import MlflowException

    for finding in findings:
        if finding.repair is None:
            continue
        try:
            with _lock(sides, finding), quietly():
                finding.repair()
        except LockStuck:  # each of the others would wait as long
            raise
        except (UserError, OSError, MlflowException, SQLAlchemyError) as error:
            yield finding, _first_line(sides, error)
        else:
            yield finding, ""


def _look(sides: Sides) -> Iterator[Finding]:
    yield from sides.away
    with quietly():
        snapshots = list(take_snapshots(sides))
        for snapshot in snapshots:
            yield from _compare(snapshot, sides)
    yield from compare_strangers(sides, snapshots)


def _compare(snapshot: StageSnapshot, sides: Sides) -> Iterator[Finding]:
    for compare_part in _COMPARISONS:
        yield from compare_part(snapshot, sides)


def _lock(sides: Sides, finding: Finding) -> AbstractContextManager[None]:
    """Returns what keeps workers from claiming a trial of the stage."""
    if finding.kind in ("undelivered", "curve"):
        return nullcontext()  # long curves take long, and delivery has a lock of its own
    return study_lock(sides.storage, f"{sides.name}/{finding.stage}")


def _first_line(sides: Sides, error: Exception) -> str:
    text = sides.tracker.location.scrub(error) if sides.tracker else str(error)
    return scrub(text.strip().splitlines()[0], sides.storage.url)
