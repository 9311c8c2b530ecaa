"""The files of checkpoints beside what Optuna names."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from optuna.trial import FrozenTrial

from nnstudy.doctor.finding import Finding
from nnstudy.doctor.snapshot import Sides, StageSnapshot, facts
from nnstudy.search.keeping import STATES
from nnstudy.training.checkpoints import CheckpointError, read_metadata
from nnstudy.training.checkpoints.atomic_write import STALE_SECONDS

_RUNS = "runs:/"


def compare_weights(snapshot: StageSnapshot, sides: Sides) -> Iterator[Finding]:
    """Yields the finished trials whose weights cannot be had."""
    for trial in snapshot.finished:
        place = facts(trial).get("checkpoint")
        if place and (reason := _why_unreadable(snapshot, sides, trial, place)):
            yield Finding(
                "weights",
                snapshot.plan.stage,
                trial.number,
                f"its weights cannot be had: {reason}. Its result stands; to have weights,"
                " enqueue its parameters again",
            )


def _why_unreadable(
    snapshot: StageSnapshot, sides: Sides, trial: FrozenTrial, place: str
) -> str | None:
    if place.startswith(_RUNS):
        if sides.tracker is None:
            return None
        run_id, _, path = place.removeprefix(_RUNS).partition("/")
        listed = sides.mlflow.client.list_artifacts(run_id, path.rpartition("/")[0])
        if path in {entry.path for entry in listed}:
            return None
        return f"{place} is not among the artifacts"
    named = Path(place)
    moved = snapshot.directory(trial)
    file = moved / named.name if moved and (moved / named.name).exists() else named
    try:
        read_metadata(file)
    except CheckpointError as error:
        return str(error)
    return None


def compare_leftovers(snapshot: StageSnapshot, sides: Sides) -> Iterator[Finding]:
    """Yields files and directories that no trial needs, of no trial that is running."""
    for number, directories in snapshot.directories.items():
        if number >= len(snapshot.trials):
            for directory in directories:
                yield _orphan(snapshot, number, directory, "belongs to no trial")
            continue
        trial = snapshot.trials[number]
        if not trial.state.is_finished():
            continue
        yield from _uploaded_states(snapshot, sides, trial)
        own = snapshot.directory(trial)
        for directory in directories:
            if directory != own:
                yield _orphan(snapshot, number, directory, "was left by a worker that lost it")
        if own is not None:
            latest = time.time() - STALE_SECONDS
            for file in sorted(own.glob(".*.tmp")):
                if _age(file) < latest:
                    yield _orphan(snapshot, number, file, "was left half written")


def _uploaded_states(
    snapshot: StageSnapshot, sides: Sides, trial: FrozenTrial
) -> Iterator[Finding]:
    """Yields the last states among the artifacts of a finished trial."""
    place = facts(trial).get("checkpoint") or ""
    if sides.tracker is None or not place.startswith(_RUNS):
        return
    run = sides.tracker.run(place.removeprefix(_RUNS).partition("/")[0])
    if STATES in run.list_artifacts(""):
        yield Finding(
            "orphan",
            snapshot.plan.stage,
            trial.number,
            f"its run still has the artifacts {STATES}/, from which it would be gone on with",
            "delete them",
            partial(run.delete_artifact, STATES),
        )


def _orphan(snapshot: StageSnapshot, number: int, path: Path, why: str) -> Finding:
    return Finding(
        "orphan",
        snapshot.plan.stage,
        number,
        f"{path} {why}",
        "remove it",
        partial(_remove, snapshot, number, path),
    )


def _remove(snapshot: StageSnapshot, number: int, path: Path) -> None:
    trials = snapshot.stored.optuna_study.get_trials(deepcopy=False)
    if number < len(trials):
        trial = trials[number]
        named = Path(facts(trial).get("checkpoint") or "")
        # Compared by names too: the place may have another path on this machine.
        holds = path.name == named.parent.name or path == named
        if not trial.state.is_finished() or holds:
            return
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def compare_strangers(sides: Sides, snapshots: list[StageSnapshot]) -> Iterator[Finding]:
    """Yields directories of stages that this database does not have, but another one may."""
    root = sides.settings.checkpoints
    known = {snapshot.plan.checkpoints(root) for snapshot in snapshots}
    for path in sorted((root / sides.name).glob("*")):
        if path.is_dir() and path not in known:
            yield Finding(
                "stranger",
                "",
                None,
                f"{path} belongs to no stage stored here. If no other database has it, remove it",
            )


def _age(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return time.time()
