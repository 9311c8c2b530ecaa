"""Where a trial's checkpoints are kept: a directory that workers share, or MLflow's artifacts."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from nnstudy.errors import UserError
from nnstudy.search.plan import Plan
from nnstudy.search.settings import Settings
from nnstudy.tracking import Tracker, TrackingAway, TrialRun
from nnstudy.training.checkpoints import CheckpointName, Keeper, enforce_limit

_FOLDER = "checkpoints"
STATES = "state"
_LAST = str(CheckpointName("last"))
_UPLOAD_SECONDS = 30.0
_RUNS = "runs:/"


def trial_directory(plan: Plan, settings: Settings, number: int, token: int = 1) -> Path:
    """Returns the directory of a trial's checkpoints.

    Each lease has its own, so that a worker that was only slow writes beside the one that
    took its trial over, and never into what that one keeps.

    Args:
        plan: The trial's stage.
        settings: Where all checkpoints are.
        number: Of the trial.
        token: Of the lease.
    """
    suffix = f".{token}" if token > 1 else ""
    return plan.checkpoints(settings.checkpoints) / f"trial-{number:05d}{suffix}"


def trial_directories(plan: Plan, settings: Settings, number: int) -> list[Path]:
    """Returns the directories there are of a trial, that of the latest lease first."""
    first = trial_directory(plan, settings, number)
    found = [first, *first.parent.glob(f"{first.name}.*")]
    return sorted((path for path in found if path.is_dir()), key=_token, reverse=True)


def _token(directory: Path) -> int:
    token = directory.name.rpartition(".")[2]
    return int(token) if token.isdecimal() else 1


def inherit(plan: Plan, settings: Settings, number: int, token: int) -> Path:
    """Moves what earlier workers left of a trial to the directory of this lease.

    Returns:
        That directory; it need not exist.
    """
    own = trial_directory(plan, settings, number, token)
    if token == 1 or own.exists():
        return own
    earlier = [d for d in trial_directories(plan, settings, number) if _token(d) < token]
    # One without a last state is what a late worker wrote after its own was moved away.
    for directory in sorted(earlier, key=lambda path: not (path / _LAST).exists()):
        try:
            return directory.rename(own)
        except FileNotFoundError:  # moved in this moment by a still later lease
            continue
    return own


def find_checkpoint(plan: Plan, settings: Settings, number: int, place: str) -> Path | None:
    """Returns a trial's checkpoint where it is stored, or where its directory was moved to."""
    stored = Path(place)
    moved = [directory / stored.name for directory in trial_directories(plan, settings, number)]
    return next((path for path in [stored, *moved] if path.exists()), None)


def discard_earlier(plan: Plan, settings: Settings, number: int, token: int) -> None:
    """Removes what workers of earlier leases wrote that did not know yet that they had lost it."""
    for directory in trial_directories(plan, settings, number):
        if _token(directory) < token:
            shutil.rmtree(directory, ignore_errors=True)


class Uploads:
    """Keeps a copy of a trial's checkpoints among the artifacts of its MLflow run.

    Args:
        keeper: Writes the checkpoints.
        run: The trial's run.
        token: Of the lease; each has a last state of its own.
    """

    def __init__(self, keeper: Keeper, run: TrialRun, token: int) -> None:
        self._keeper = keeper
        self._run = run
        self._token = token
        self._uploaded = time.monotonic()
        self._there: set[str] = set()

    def fetch(self) -> bool:
        """Fetches the last state and the weights it goes with, unless there is a state here.

        Returns:
            Whether another machine had left one.

        Raises:
            TrackingAway: MLflow cannot be reached.
        """
        if self._keeper.last_path is not None:
            return False
        folders = [path for path in self._run.list_artifacts(STATES) if _number(path) is not None]
        for folder in sorted(folders, key=lambda path: _number(path) or 0, reverse=True):
            if self._run.download(f"{folder}/{_LAST}", self._keeper.directory):
                for path in self._run.list_artifacts(folder):
                    self._run.download(path, self._keeper.directory)
                return True
        return False

    def sync(self) -> None:
        """Uploads the last state, unless that was done a short while ago."""
        if time.monotonic() - self._uploaded >= _UPLOAD_SECONDS:
            self.save()

    def save(self) -> None:
        """Uploads the last state, after the weights it goes with."""
        last = self._keeper.last_path
        weights = [path for path in self._keeper.paths() if path != last]
        for path in [path for path in weights if path.name not in self._there]:
            if self._run.log_artifact(path, self._folder):
                self._there.add(path.name)
        if last and self._there >= {path.name for path in weights}:
            self._run.log_artifact(last, self._folder)
        self._uploaded = time.monotonic()

    @property
    def _folder(self) -> str:
        return f"{STATES}/{self._token}"

    def finish(self) -> None:
        """Uploads the weights that are kept.

        Raises:
            TrackingAway: They could not be uploaded.
        """
        for path in self._keeper.paths():
            if path == self._keeper.last_path:
                continue
            if not self._run.log_artifact(path, _FOLDER):
                raise TrackingAway(f"MLflow did not take the checkpoint {path}")

    def place(self, path: Path) -> str:
        """Returns where a file of weights is that was uploaded."""
        return f"{_RUNS}{self._run.run_id}/{_FOLDER}/{path.name}"

    def discard(self) -> None:
        """Removes the weights here, and the states of this lease and of earlier ones there."""
        for path in self._keeper.paths():
            if path != self._keeper.last_path:
                path.unlink(missing_ok=True)
        for token in range(1, self._token + 1):
            self._run.delete_artifact(f"{STATES}/{token}")


def _number(path: str) -> int | None:
    name = path.rpartition("/")[2]
    return int(name) if name.isdecimal() else None


def fetch_checkpoint(tracker: Tracker, place: str, directory: Path) -> Path:
    """Fetches a checkpoint that is kept among the artifacts of a run.

    Args:
        tracker: MLflow.
        place: What is stored with the trial: ``runs:/<run id>/<path>``.
        directory: Where to put the file.

    Raises:
        UserError: If there is no such artifact.
    """
    run_id, _, path = place.removeprefix(_RUNS).partition("/")
    found = tracker.run(run_id).download(path, directory)
    if found is None:
        raise UserError(f"the checkpoint {place} is not among the artifacts of its MLflow run")
    return found


def sibling_checkpoints(tracker: Tracker, place: str) -> list[str]:
    """Returns the places of all checkpoints that are kept beside one in MLflow.

    Args:
        tracker: MLflow.
        place: Of the one: ``runs:/<run id>/<path>``.

    Raises:
        TrackingAway: MLflow cannot be reached.
    """
    run_id, _, path = place.removeprefix(_RUNS).partition("/")
    paths = tracker.run(run_id).list_artifacts(path.rpartition("/")[0])
    return [f"{_RUNS}{run_id}/{path}" for path in paths]


def free_disk(plan: Plan, settings: Settings) -> list[Path]:
    """Drops checkpoints that an ensemble would need least, if the study has too many.

    The limit holds for all stages of the study together. States to go on from always stay.

    Returns:
        The dropped files.
    """
    if settings.disk_limit is None:
        return []
    study = settings.checkpoints / plan.study
    # Those of running trials, and of finished ones what MLflow has not been told yet.
    needed = {last.parent for last in study.glob(f"*/trial-*/{_LAST}")}
    return enforce_limit(study, settings.disk_limit, needed, plan.direction)
