"""Small studies and a place of their own to launch them in, for tests of whole launches."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import mlflow.entities
import optuna
import pytest
import torch
from torch import nn

from nnstudy import EarlyStopping, Recipe, Stage, Study, datasets
from nnstudy.data import Data, Source
from nnstudy.engines import LaunchResult, Settings, launch
from nnstudy.search.events import Emit, Event
from nnstudy.search.interruption import Interruption
from nnstudy.search.storage import open_storage
from nnstudy.tracking import Tracker

Curves = dict[str, list[tuple[int, float]]]

MEASURED = {"seconds", "speed", "memory"}
"""Sections of curves that no two runs have in common."""


@pytest.fixture(scope="session")
def fresh_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised SQLite store, made once: creating its hundred tables takes a second."""
    # Each folder of tests that imports this fixture has one of its own: the file is shared.
    file = tmp_path_factory.getbasetemp() / "fresh" / "mlflow.db"
    if not file.exists():
        Tracker(f"sqlite:///{file}", str(file.parent / "artifacts"))
    return file


@pytest.fixture
def place(fresh_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty place in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return make_place(tmp_path / "place", fresh_mlflow)


@pytest.fixture
def new_place(fresh_mlflow: Path, tmp_path: Path) -> Callable[[str], Place]:
    """Makes more places, by name."""
    return lambda name: make_place(tmp_path / name, fresh_mlflow)


def make_place(directory: Path, fresh_mlflow: Path, storage: str | None = None) -> Place:
    directory.mkdir()
    # Not a copy of the file: what was written last is still in the log beside it.
    with (
        closing(sqlite3.connect(fresh_mlflow)) as fresh,
        closing(sqlite3.connect(directory / "mlflow.db")) as own,
    ):
        fresh.backup(own)
    return Place(directory, storage or f"sqlite:///{directory / 'optuna.db'}")


@dataclass
class Place:
    """Where launches keep everything, and what came of them."""

    directory: Path
    storage: str
    events: list[Event] = field(default_factory=list)

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.directory / 'mlflow.db'}"

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoints"

    def options(self, **settings: Any) -> dict[str, Any]:
        """The options that point a launch here."""
        return {
            "storage": self.storage,
            "tracking_uri": self.tracking_uri,
            "artifacts": str(self.directory / "artifacts"),
            "settings": Settings(
                **{"device": "cpu", "checkpoints": self.checkpoints, "patience": 1.0, **settings}
            ),
        }

    def launch(
        self,
        study: Study | str,
        *,
        hear: Emit | None = None,
        interruption: Interruption | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> LaunchResult:
        """Launches with one worker and without pre-flight, unless told otherwise.

        The events are collected.
        """

        def emit(event: Event) -> None:
            self.events.append(event)
            if hear:
                hear(event)

        return launch(
            study,
            emit=emit,
            interruption=interruption,
            **{
                "workers": 1,
                "preflight": False,
                **self.options(**(settings or {})),
                **options,
            },
        )

    def texts(self, kind: str) -> list[str]:
        """What was told in words."""
        return [event.values["text"] for event in self.events if event.kind == kind]

    def study(self, name: str = "toy/search") -> optuna.Study:
        return optuna.load_study(study_name=name, storage=open_storage(self.storage))

    def trials(self, name: str = "toy/search") -> list[optuna.trial.FrozenTrial]:
        return self.study(name).get_trials()

    def all_runs(self, experiment: str = "toy") -> list[mlflow.entities.Run]:
        client = Tracker(self.tracking_uri).client
        found = client.get_experiment_by_name(experiment)
        return list(client.search_runs([found.experiment_id])) if found else []

    def stage_run(self, stage: str = "search") -> mlflow.entities.Run:
        (run,) = (
            run
            for run in self.all_runs()
            if run.data.tags["nnstudy.kind"] == "stage" and run.info.run_name == stage
        )
        return run

    def run(self, number: int, stage: str = "search") -> mlflow.entities.Run:
        """The one run of a trial."""
        (run,) = (
            run
            for run in self.all_runs()
            if run.data.tags["nnstudy.kind"] == "trial"
            and run.data.tags["nnstudy.stage"] == stage
            and run.data.params["trial/number"] == str(number)
        )
        return run

    def curves(self, number: int, stage: str = "search") -> Curves:
        """Every point of every curve that MLflow has of a trial, in the order of the steps."""
        run_id = self.run(number, stage).info.run_id
        with closing(sqlite3.connect(self.directory / "mlflow.db")) as database:
            points = database.execute(
                "select key, step, value from metrics where run_uuid = ? order by step", (run_id,)
            ).fetchall()
        curves: Curves = defaultdict(list)
        for key, step, value in points:
            curves[key].append((step, value))
        return dict(curves)

    def numbers(self, number: int) -> Curves:
        """The curves without those that no two runs have in common."""
        curves = self.curves(number)
        return {key: curves[key] for key in curves if key.split("/")[0] not in MEASURED}

    def checkpoint(self, number: int) -> Path:
        """The best checkpoint of a trial."""
        return Path(self.trials()[number].user_attrs["nnstudy"]["checkpoint"])

    def dump(self) -> str:
        """All that both databases hold."""
        texts = []
        for file in ("optuna.db", "mlflow.db"):
            with closing(sqlite3.connect(self.directory / file)) as database:
                texts += list(database.iterdump())
        return "\n".join(texts)


def blobs(examples: int = 150) -> Source:
    """Three clouds of points in four dimensions, which overlap a little."""
    generator = torch.Generator().manual_seed(7)
    targets = torch.arange(examples) % 3
    centres = torch.randn(3, 4, generator=generator)
    inputs = centres[targets] + torch.randn(examples, 4, generator=generator)
    return datasets.tensors(inputs, targets, name="blobs")


def network(data: Data, units: int = 8, dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(
        nn.Linear(data.shape[0], units),
        nn.Tanh(),
        nn.Dropout(dropout),
        nn.Linear(units, data.outputs),
    )


def recipe(trial: optuna.Trial, data: Data) -> Recipe:
    """A perceptron whose rate, width and minibatch are searched."""
    lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
    units = trial.suggest_int("units", 2, 16)
    return Recipe(
        network=network(data, units),
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9),
        batch_size=trial.suggest_categorical("batch_size", [16, 32]),
    )


def toy(
    recipe: Callable[..., Any] = recipe,
    *,
    trials: int = 3,
    epochs: float = 3,
    sampler: Any = "tpe",
    pruner: Any = "none",
    sampler_options: Mapping[str, Any] | None = None,
    pruner_options: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Study:
    """A study of one stage, ``toy/search``."""
    stage = Stage(
        trials=trials,
        epochs=epochs,
        sampler=sampler,
        pruner=pruner,
        sampler_options=sampler_options or {},
        pruner_options=pruner_options or {},
    )
    stopping: EarlyStopping | None = fields.pop("early_stopping", None)
    return Study(
        "toy", recipe, data=blobs, **{"stages": [stage], "early_stopping": stopping, **fields}
    )


class InterruptAt:
    """Hears events, and asks for an end when a trial tells of an epoch."""

    def __init__(self, trial: int, epoch: float = 1) -> None:
        self.interruption = Interruption()
        self._wanted = trial, epoch

    def __call__(self, event: Event) -> None:
        if event.kind == "epoch" and (event.values["trial"], event.values["epoch"]) == self._wanted:
            self.interruption.request()


@pytest.fixture
def every_epoch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of all epochs, not only of some a second."""
    monkeypatch.setattr("nnstudy.search.announcer._SHOW_SECONDS", 0.0)


os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
