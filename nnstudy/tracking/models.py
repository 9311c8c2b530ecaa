"""Models in MLflow: logged with a run, registered under a name, fetched again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnstudy.errors import UserError
from nnstudy.secret_urls import mask
from nnstudy.tracking.away import TrackingAway, explained
from nnstudy.tracking.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.models import Model

Save = Callable[[Path, "Model"], None]
"""Writes a model into a directory that is made, with a description to complete."""


_MODEL_TAG = "nnstudy.model"  # a database of MLflow keeps no id of its own with a version


@dataclass(frozen=True)
class LoggedModel:
    """A model that MLflow has.

    Attributes:
        model_id: Its id.
        version: Its version in the registry; None: it is not registered.
        not_registered: Why it is not.
    """

    model_id: str
    version: int | None = None
    not_registered: str | None = None

    @property
    def uri(self) -> str:
        """What ``mlflow.pyfunc.load_model`` and ``mlflow models serve`` are given."""
        return f"models:/{self.model_id}"


def log_model(
    tracker: Tracker,
    run_id: str,
    name: str,
    save: Save,
    scratch: Path,
    *,
    registered: str,
    tags: dict[str, str],
) -> LoggedModel:
    """Logs a model with a run and registers it as a new version.

    The registry is tried last: where there is none, the model is logged all the same.

    Args:
        tracker: MLflow.
        run_id: The run.
        name: What the model is called within its experiment.
        save: Writes it.
        scratch: An empty directory.
        registered: Its name in the registry.
        tags: Of the model, and of the version.

    Raises:
        TrackingAway: MLflow cannot be reached.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    client = tracker.client
    with explained(tracker.location):
        experiment = client.get_run(run_id).info.experiment_id
        made = client.create_logged_model(experiment, name, source_run_id=run_id, tags=tags)
        description = Model(
            artifact_path=made.artifact_location,
            run_id=run_id,
            model_uuid=made.model_id,
            model_id=made.model_id,
        )
        save(scratch, description)
        try:
            client.log_model_artifacts(made.model_id, str(scratch))
        except Exception as error:  # whatever the store of the artifacts raises
            client.finalize_logged_model(made.model_id, "FAILED")
            reason = tracker.location.scrub(error)
            raise TrackingAway(f"MLflow did not take the model's files: {reason}") from None
        client.finalize_logged_model(made.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
    logged = LoggedModel(made.model_id)
    # A server resolves the id; without one MLflow would ask its global tracking URI.
    source = logged.uri if tracker.location.is_server else made.artifact_location
    return _registered(tracker, logged, source, run_id, registered, tags)


def _registered(
    tracker: Tracker,
    logged: LoggedModel,
    source: str,
    run_id: str,
    name: str,
    tags: dict[str, str],
) -> LoggedModel:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

    try:
        with explained(tracker.location):
            try:
                tracker.client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                    raise
            version = tracker.client.create_model_version(
                name,
                source,
                run_id=run_id,
                tags={**tags, _MODEL_TAG: logged.model_id},
                model_id=logged.model_id,
            )
    except UserError as error:
        return replace(logged, not_registered=str(error))
    return replace(logged, version=int(version.version))


def latest_model(tracker: Tracker, experiment: str, name: str) -> LoggedModel | None:
    """Returns the newest model of a name in an experiment, or None.

    Args:
        tracker: MLflow.
        experiment: Name of the experiment.
        name: Name of the model.

    Raises:
        TrackingAway: MLflow cannot be reached.
    """
    from mlflow.entities import LoggedModelStatus

    with explained(tracker.location):
        found = tracker.client.get_experiment_by_name(experiment)
        if found is None:
            return None
        models = tracker.client.search_logged_models(
            [found.experiment_id],
            filter_string=f"name = '{name}'",
            order_by=[{"field_name": "creation_timestamp", "ascending": False}],
        )
    whole = (model for model in models if model.status == LoggedModelStatus.READY)
    return next((LoggedModel(model.model_id) for model in whole), None)


def registered_model(tracker: Tracker, name: str, version: int) -> LoggedModel:
    """Returns a registered version.

    Raises:
        UserError: If there is no such version, or it was registered by something else.
    """
    from mlflow.exceptions import MlflowException

    try:
        found: Any = tracker.client.get_model_version(name, str(version))
    except MlflowException as error:
        reason = tracker.location.scrub(error)
        raise UserError(
            f"MLflow has no version {version} of the model {name!r}: {reason}"
        ) from None
    model_id = found.tags.get(_MODEL_TAG)
    if model_id is None:
        raise UserError(f"version {version} of the model {name!r} was not registered by nnstudy")
    return LoggedModel(model_id, version)


def fetch_model(tracker: Tracker, model: LoggedModel, directory: Path) -> Path:
    """Fetches the files of a model into a directory, and returns where they are.

    Raises:
        UserError: The files are gone, or MLflow cannot be reached.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    directory.mkdir(parents=True, exist_ok=True)
    with explained(tracker.location):
        place = tracker.client.get_logged_model(model.model_id).artifact_location
        # Not by mlflow.artifacts, which asks the global tracking URI for models.
        repository: Any = get_artifact_repository(place, tracking_uri=tracker.uri)
        try:
            repository.download_artifacts("", os.fspath(directory))
        except OSError as error:
            reason = tracker.location.scrub(error)
            raise UserError(f"the model {model.uri} cannot be fetched: {reason}") from None
    if not (directory / "MLmodel").exists():
        raise UserError(f"the files of the model {model.uri} are missing at {mask(place)}")
    return directory
