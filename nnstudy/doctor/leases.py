"""The leases of trials beside the trials."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from optuna.trial import FrozenTrial

from nnstudy.doctor.finding import Finding
from nnstudy.doctor.snapshot import Sides, StageSnapshot
from nnstudy.search.leases import Lease


def compare_leases(snapshot: StageSnapshot, sides: Sides) -> Iterator[Finding]:
    """Yields leases of finished trials that are still held, and trials that nobody holds."""
    stage = snapshot.plan.stage
    for trial in snapshot.finished:
        if snapshot.is_held(trial):
            lease = snapshot.leases[trial._trial_id]
            yield Finding(
                "lease",
                stage,
                trial.number,
                f"it is finished, but {lease.owner} holds its lease",
                "release the lease",
                partial(_release, sides, trial, lease.token),
            )
    for trial in snapshot.running:
        if not snapshot.is_held(trial):
            yield Finding(
                "waiting",
                stage,
                trial.number,
                "it was begun and nobody works on it; the next launch or worker goes on with it",
            )


def _release(sides: Sides, trial: FrozenTrial, token: int) -> None:
    Lease(sides.leases, trial._trial_id, token).release()
