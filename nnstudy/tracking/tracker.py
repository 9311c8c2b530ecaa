"""MLflow with explicit run ids: experiments, runs found again, datasets, the saved view."""

from __future__ import annotations

import getpass
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nnstudy.errors import UserError
from nnstudy.tracking import database, views
from nnstudy.tracking.away import explained
from nnstudy.tracking.buffer import cut, valid_key
from nnstudy.tracking.location import Location
from nnstudy.tracking.runs import StageRun, TrialRun

_LONGEST_PARAM = 6000
_PARAMS_PER_BATCH = 100
_LONGEST_NOTE = 8000
_LONGEST_DIGEST = 36

_KEY_TAG = "nnstudy.key"
_CUT_TAG = "nnstudy.params_cut"

_ENVIRONMENT = {
    # Standard error belongs to us as well.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A model has our requirements, not those of a project in whose directory it is made.
    "MLFLOW_UV_AUTO_DETECT": "false",
}
_SERVER_ENVIRONMENT = {
    # MLflow's own defaults (120 s, 7 retries, doubling) let a training wait for minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    # Two lines on standard output for each run that ends, which belongs to us.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class Tracker:
    """One process's way to MLflow.

    The fluent API (``mlflow.start_run``) keeps a stack of runs for each thread and makes stray
    runs; here every write names its run.

    Attributes:
        location: Where runs and artifacts are kept.
    """

    def __init__(
        self, uri: str | None = None, artifacts: str | None = None, *, reach: bool = True
    ) -> None:
        """Connects, and creates the database where there is none.

        Args:
            uri: Tracking URI; default ``MLFLOW_TRACKING_URI``, then
                ``sqlite:///mlruns/mlflow.db``.
            artifacts: Root of the artifacts; default ``mlruns/artifacts``, or the choice of
                the tracking server.
            reach: Whether a server must answer now; else its first use shows that.

        Raises:
            UserError: The store cannot be reached or made, or belongs to another program.
        """
        self.location = Location.resolve(uri, artifacts)
        is_server = self.location.is_server
        for name, value in {**_ENVIRONMENT, **(_SERVER_ENVIRONMENT if is_server else {})}.items():
            os.environ.setdefault(name, value)
        if not is_server:
            database.prepare(self.location)
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(self.location.uri)
        if self.location.sqlite_file:
            database.commit_to_the_log(self.client)
        if is_server and reach:
            with explained(self.location):
                self.client.search_experiments(max_results=1)

    @property
    def uri(self) -> str:
        """The tracking URI, with its password if it has one: never show it."""
        return self.location.uri

    @property
    def masked_uri(self) -> str:
        """The tracking URI as it may be shown."""
        return self.location.masked_uri

    def experiment(self, name: str, *, metric: str, description: str = "") -> str:
        """Returns the id of an experiment, which is created where it is missing.

        Args:
            name: Name of the experiment.
            metric: Name of the curve whose chart comes first.
            description: Markdown shown on top.

        Raises:
            UserError: The experiment was deleted in MLflow, or the store cannot be reached.
        """
        tags = {
            "mlflow.experimentKind": "custom_model_development",
            "mlflow.experiment.primaryMetric.name": valid_key(metric),
            "mlflow.note.content": cut(description, _LONGEST_NOTE),
        }
        with explained(self.location):
            experiment = self.client.get_experiment_by_name(name)
            if experiment is None:
                return self._create_experiment(name, tags)
            if experiment.lifecycle_stage == "deleted":
                raise UserError(
                    f"The MLflow experiment {name!r} was deleted. Bring it back with"
                    f" `mlflow experiments restore --experiment-id {experiment.experiment_id}`"
                    " (with MLFLOW_TRACKING_URI set), or give the study another name"
                )
            for key, value in tags.items():
                if experiment.tags.get(key) != value:
                    self.client.set_experiment_tag(experiment.experiment_id, key, value)
            return str(experiment.experiment_id)

    def stage_run(
        self,
        experiment_id: str,
        study: str,
        stage: str,
        *,
        key: str,
        kind: str = "stage",
        tags: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        note: str = "",
    ) -> StageRun:
        """Returns the parent run of a stage, which is created where it is missing.

        Processes that ask at once get the same run; behind an MLflow server, which offers no
        lock, whoever calls must see to that.

        Args:
            experiment_id: The study's experiment.
            study: Name of the study.
            stage: Name of the stage; it is the run's name.
            key: What tells this stage from all others; searched for first, so that a stage
                never gets two runs.
            kind: What else than a stage of the search it is.
            tags: More tags.
            params: What the stage was given.
            note: Markdown shown on top of the run.

        Raises:
            UserError: The store cannot be reached.
        """
        all_tags = {"nnstudy.kind": kind, "nnstudy.study": study, "nnstudy.stage": stage}
        all_tags |= {"mlflow.note.content": note} if note else {}
        with explained(self.location), database.locked(self.location):
            run_id = self._find_or_create(
                experiment_id, key, stage, tags={**all_tags, **(tags or {})}, params=params or {}
            )
        return StageRun(self.client, self.location, run_id)

    def race_run(self, experiment_id: str, name: str, *, note: str) -> StageRun:
        """Returns the run that tells of a whole race, which is created where it is missing.

        Args:
            experiment_id: The race's experiment.
            name: Name of the race; it is the run's name.
            note: Markdown shown on top of the run.

        Raises:
            UserError: The store cannot be reached.
        """
        tags = {"nnstudy.kind": "race", "nnstudy.study": name}
        with explained(self.location), database.locked(self.location):
            run_id = self._find_or_create(experiment_id, f"{name}/race", name, tags=tags, params={})
        run = StageRun(self.client, self.location, run_id)
        run.set_note(note)
        return run

    def trial_run(
        self,
        experiment_id: str,
        parent_run_id: str,
        *,
        number: int,
        name: str,
        key: str,
        kind: str = "trial",
        tags: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        started_ms: int | None = None,
    ) -> TrialRun:
        """Returns the run of a trial, which is created where it is missing.

        Args:
            experiment_id: The study's experiment.
            parent_run_id: The run of the trial's stage.
            number: The trial's number, kept as the parameter ``trial/number``.
            name: Name of the run.
            key: What tells this trial from all others; searched for first, so that a trial
                never gets two runs.
            kind: What else than a trial of the search it is.
            tags: More tags.
            params: The trial's parameters, and what else is worth a column (``log10_lr``).
            started_ms: When the trial started, in milliseconds since 1970; default now.

        Raises:
            UserError: The store cannot be reached.
        """
        all_tags = {"nnstudy.kind": kind, "mlflow.parentRunId": parent_run_id, **(tags or {})}
        with explained(self.location):
            run_id = self._find_or_create(
                experiment_id,
                key,
                name,
                tags=all_tags,
                params={"trial/number": number, **(params or {})},
                started_ms=started_ms,
            )
        return TrialRun(self.client, self.location, run_id)

    def run(self, run_id: str) -> TrialRun:
        """Returns the run of an id, to read from or to go on writing to."""
        return TrialRun(self.client, self.location, run_id)

    def has_run(self, run_id: str) -> bool:
        """Tells whether there is a run of an id.

        Raises:
            TrackingAway: The store cannot be reached.
        """
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

        with explained(self.location):
            try:
                self.client.get_run(run_id)
            except MlflowException as error:
                if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                    raise
                return False
            return True

    def log_dataset(
        self,
        run_id: str,
        name: str,
        digest: str,
        profile: Mapping[str, Any],
        source: Mapping[str, Any],
        context: str = "training",
    ) -> None:
        """Records the data as an input of a run.

        Args:
            run_id: The run.
            name: Name of the dataset.
            digest: What tells its contents; MLflow keeps 36 characters.
            profile: JSON-ready facts: number of examples, shape, classes.
            source: Where the data come from, JSON-ready.
            context: What they were used for.

        Raises:
            UserError: The store cannot be reached.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=digest[:_LONGEST_DIGEST],
            source_type=str(source.get("type", "local")),
            source=json.dumps(dict(source), default=str),
            profile=json.dumps(dict(profile), default=str),
        )
        with explained(self.location):
            self.client.log_inputs(
                run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])]
            )

    def saved_view(
        self,
        experiment_id: str,
        params: Sequence[str],
        metric: str,
        ascending: bool,
        *,
        tags: Sequence[str] = (),
        numbers: Sequence[str] | None = None,
    ) -> str | None:
        """Writes the view in which the experiment's trials tell their story at first sight.

        A table sorted by the best value, with a column for each searched parameter; beside the
        curves, first a picture of all parameters against the best value.

        Args:
            experiment_id: The experiment.
            params: Parameters that get a column.
            metric: The study's metric, for example ``accuracy/valid``.
            ascending: True where the smallest value is the best.
            tags: Tags that get a column.
            numbers: Parameters in the picture, which has no logarithmic axes: name
                ``log10_lr`` rather than ``lr``. Default: ``params``.

        Returns:
            The view's id, or None where this version of MLflow would not understand it.
        """
        if not views.understood():
            return None
        tag, value = views.saved_view(
            [valid_key(name) for name in params],
            valid_key(metric),
            ascending=ascending,
            tags=tags,
            numbers=[valid_key(name) for name in (params if numbers is None else numbers)],
        )
        with explained(self.location):
            self.client.set_experiment_tag(experiment_id, tag, value)
        return views.VIEW_ID

    def runs_url(self, base: str, experiment_id: str, view: str | None = None) -> str:
        """Returns the address of the experiment's runs in the MLflow UI at ``base``."""
        return views.runs_url(base, experiment_id, view)

    def _create_experiment(self, name: str, tags: Mapping[str, str]) -> str:
        from mlflow.exceptions import MlflowException

        root = self.location.artifacts
        try:
            return self.client.create_experiment(
                name,
                artifact_location=root and f"{root}/{_folder(name)}",
                tags=dict(tags),
            )
        except MlflowException:
            # another process was quicker
            experiment = self.client.get_experiment_by_name(name)
            if experiment is None:
                raise
            return str(experiment.experiment_id)

    def _find_or_create(
        self,
        experiment_id: str,
        key: str,
        name: str,
        *,
        tags: Mapping[str, Any],
        params: Mapping[str, Any],
        started_ms: int | None = None,
    ) -> str:
        from mlflow.entities import Param

        texts = {valid_key(name): str(value) for name, value in params.items()}
        run = self._find(experiment_id, key)
        if run is None:
            too_long = [name for name, text in texts.items() if len(text) > _LONGEST_PARAM]
            all_tags = {**_source_tags(), **tags, _KEY_TAG: key}
            all_tags |= {_CUT_TAG: ", ".join(too_long)} if too_long else {}
            run = self.client.create_run(
                experiment_id,
                start_time=started_ms,
                run_name=name,
                tags={valid_key(k): cut(v, _LONGEST_NOTE) for k, v in all_tags.items()},
            )
        elif run.info.status != "RUNNING":
            self.client.update_run(run.info.run_id, status="RUNNING")
        missing = [
            Param(name, cut(text, _LONGEST_PARAM))
            for name, text in texts.items()
            if name not in run.data.params
        ]
        for start in range(0, len(missing), _PARAMS_PER_BATCH):
            self.client.log_batch(
                run.info.run_id, params=missing[start : start + _PARAMS_PER_BATCH]
            )
        return str(run.info.run_id)

    def _find(self, experiment_id: str, key: str) -> Any:
        quote = '"' if "'" in key else "'"
        found = self.client.search_runs(
            [experiment_id],
            filter_string=f"tags.`{_KEY_TAG}` = {quote}{key}{quote}",
            order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
            max_results=1,
        )
        return found[0] if found else None


def _source_tags() -> dict[str, str]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = ""  # a container's user without a name
    return {
        "mlflow.user": user,
        "mlflow.source.name": "nnstudy",
        "mlflow.source.type": "LOCAL",
    }


def _folder(name: str) -> str:
    """Returns a name that stays inside its directory."""
    return re.sub(r"[^\w.-]", "-", name).strip(".") or "experiment"
