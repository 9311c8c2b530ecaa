"""What can be said of a study while Optuna's database cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator

from nnstudy.doctor.finding import Finding
from nnstudy.doctor.snapshot import all_runs, key_of, trial_directories
from nnstudy.errors import UserError
from nnstudy.search.settings import Settings
from nnstudy.tracking import Location, Tracker
from nnstudy.training.checkpoints import CheckpointError, CheckpointName, read_metadata


def compare_without_optuna(
    name: str, reason: str, location: Location, settings: Settings
) -> Iterator[Finding]:
    """Yields what MLflow and the checkpoints tell by themselves.

    Args:
        name: Name of the study.
        reason: Why Optuna's database cannot be reached.
        location: MLflow's places.
        settings: Where checkpoints are.
    """
    yield Finding("away", "", None, f"Optuna is not compared: {reason}")
    keys: set[str] | None = None
    try:
        keys = _keys(name, location)
    except UserError as error:
        yield Finding("away", "", None, f"MLflow is not compared: {error}")
    root = settings.checkpoints / name
    for stage in sorted(path for path in root.glob("*") if path.is_dir()):
        label, _, uid = stage.name.rpartition("-")
        for number, directories in trial_directories(stage).items():
            if keys is not None and f"{name}/{label}/{uid}/{number}" not in keys:
                text = f"{directories[0]} belongs to no run in MLflow"
                yield Finding("run", label, number, text)
            for file in (file for path in directories for file in sorted(path.iterdir())):
                if CheckpointName.parse(file.name):
                    try:
                        read_metadata(file)
                    except CheckpointError as error:
                        yield Finding("weights", label, number, str(error))


def _keys(name: str, location: Location) -> set[str]:
    """Returns the keys of all runs of a study."""
    if location.sqlite_file and not location.sqlite_file.is_file():
        raise UserError(f"there is no database {location.sqlite_file}")
    tracker = Tracker(location.uri, location.artifacts)
    experiment = tracker.client.get_experiment_by_name(name)
    if experiment is None:
        raise UserError(f"{location.masked_uri} has no experiment of study {name!r}")
    return {key_of(run) for run in all_runs(tracker, experiment.experiment_id)}
