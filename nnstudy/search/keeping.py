"""Where a trial's checkpoints are kept: a directory that workers share, or MLflow's artifacts."""

from __future__ import annotations

import time
from pathlib import Path

import optuna
from optuna.trial import TrialState

from nnstudy.errors import UserError
from nnstudy.search.plan import Plan
from nnstudy.search.settings import Settings
from nnstudy.tracking import Tracker, TrialRun
from nnstudy.training.checkpoints import Keeper, enforce_limit

_FOLDER = "checkpoints"
_UPLOAD_SECONDS = 30.0
_RUNS = "runs:/"


def trial_directory(plan: Plan, settings: Settings, number: int) -> Path:
    """Returns the directory of a trial's checkpoints."""
    return plan.checkpoints(settings.checkpoints) / f"trial-{number:05d}"


class Uploads:
    """Keeps a copy of a trial's checkpoints among the artifacts of its MLflow run.

    Args:
        keeper: Writes the checkpoints.
        run: The trial's run.
    """

    def __init__(self, keeper: Keeper, run: TrialRun) -> None:
        self._keeper = keeper
        self._run = run
        self._uploaded = time.monotonic()

    def fetch_last(self) -> None:
        """Fetches the last state, where another machine left one and there is none here."""
        if self._keeper.last_path is None:
            self._run.download(f"{_FOLDER}/last.safetensors", self._keeper.directory)

    def sync(self) -> None:
        """Uploads the last state, unless that was done a short while ago."""
        if time.monotonic() - self._uploaded >= _UPLOAD_SECONDS:
            self.save()

    def save(self) -> None:
        """Uploads the last state."""
        if self._keeper.last_path:
            self._run.log_artifact(self._keeper.last_path, _FOLDER)
        self._uploaded = time.monotonic()

    def finish(self, checkpoint: str | None) -> str | None:
        """Uploads the weights that are kept, and removes them here.

        Args:
            checkpoint: The file that the trial's value belongs to.

        Returns:
            Where that one is now.
        """
        for path in self._keeper.paths():
            if path == self._keeper.last_path:
                continue
            if not self._run.log_artifact(path, _FOLDER):
                return checkpoint
            path.unlink()
        self._run.delete_artifact(f"{_FOLDER}/last.safetensors")
        if checkpoint is None:
            return None
        return f"{_RUNS}{self._run.run_id}/{_FOLDER}/{Path(checkpoint).name}"


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


def free_disk(study: optuna.Study, plan: Plan, settings: Settings) -> list[Path]:
    """Drops checkpoints that an ensemble would need least, if the study has too many.

    The limit holds for all stages of the study together.

    Returns:
        The dropped files.
    """
    if settings.disk_limit is None:
        return []
    running = {
        trial_directory(plan, settings, trial.number)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    }
    return enforce_limit(
        settings.checkpoints / plan.study, settings.disk_limit, running, plan.direction
    )
