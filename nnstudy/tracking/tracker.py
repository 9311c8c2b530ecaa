"""MLflow with explicit run ids: experiments, runs found again, datasets, the saved view."""

from __future__ import annotations

import getpass
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from nnstudy.errors import UserError
from nnstudy.tracking import database, views
from nnstudy.tracking.buffer import cut, valid_key
from nnstudy.tracking.location import Location
from nnstudy.tracking.quiet import quietly
from nnstudy.tracking.runs import StageRun, TrialRun

_LONGEST_PARAM = 6000
_PARAMS_PER_BATCH = 100
_LONGEST_NOTE = 8000
_LONGEST_DIGEST = 36
_LONGEST_REASON = 300

_KEY_TAG = "nnstudy.key"
_CUT_TAG = "nnstudy.params_cut"

# MLflow's own defaults (120 s, 7 retries, doubling) let a training wait for minutes.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


class Tracker:
    """One process's way to MLflow.

    The fluent API (``mlflow.start_run``) keeps a stack of runs for each thread and makes stray
    runs; here every write names its run.

    Attributes:
        location: Where runs and artifacts are kept.
    """

    def __init__(self, uri: str | None = None, artifacts: str | None = None) -> None:
        """Connects, and creates the database where there is none.

        Args:
            uri: Tracking URI; default ``MLFLOW_TRACKING_URI``, then
                ``sqlite:///mlruns/mlflow.db``.
            artifacts: Root of the artifacts; default ``mlruns/artifacts``, or the choice of
                the tracking server.

        Raises:
            UserError: The store cannot be reached or made, or belongs to another program.
        """
        self.location = Location.resolve(uri, artifacts)
        if self.location.is_server:
            for name, value in _PATIENCE.items():
                os.environ.setdefault(name, value)
        else:
            database.prepare(self.location)
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(self.location.uri)
        if self.location.is_server:
            with self._errors_explained():
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
        with self._errors_explained():
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
            tags: More tags.
            params: What the stage was given.
            note: Markdown shown on top of the run.

        Raises:
            UserError: The store cannot be reached.
        """
        all_tags = {"nnstudy.kind": "stage", "nnstudy.study": study, "nnstudy.stage": stage}
        all_tags |= {"mlflow.note.content": note} if note else {}
        with self._errors_explained(), database.locked(self.location):
            run_id = self._find_or_create(
                experiment_id, key, stage, tags={**all_tags, **(tags or {})}, params=params or {}
            )
        return StageRun(self.client, self.location, run_id)

    def trial_run(
        self,
        experiment_id: str,
        parent_run_id: str,
        *,
        number: int,
        name: str,
        key: str,
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
            tags: More tags.
            params: The trial's parameters, and what else is worth a column (``log10_lr``).
            started_ms: When the trial started, in milliseconds since 1970; default now.

        Raises:
            UserError: The store cannot be reached.
        """
        all_tags = {"nnstudy.kind": "trial", "mlflow.parentRunId": parent_run_id, **(tags or {})}
        with self._errors_explained():
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
        with self._errors_explained():
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
        with self._errors_explained():
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

    @contextmanager
    def _errors_explained(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with quietly():
                yield
        except (MlflowException, SQLAlchemyError) as error:
            what = "server" if self.location.is_server else "database"
            # of a chain of network errors the last one says what happened
            reason = self.location.scrub(error).rpartition("Caused by ")[2]
            raise UserError(
                f"The MLflow tracking {what} {self.masked_uri} did not do what was asked:"
                f" {cut(reason, _LONGEST_REASON)}. Is it running, and is the address right?"
            ) from None


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
