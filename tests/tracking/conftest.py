"""A real MLflow store for each test."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from nnstudy.tracking import Tracker

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised SQLite store, made once: creating its hundred tables takes a second."""
    file = tmp_path_factory.mktemp("fresh") / "mlflow.db"
    Tracker(f"sqlite:///{file}", str(file.parent / "artifacts"))
    return file


@pytest.fixture
def store(fresh_database: Path, tmp_path: Path) -> tuple[str, str]:
    """The tracking URI and the artifact root of a store of its own."""
    # not a copy of the file: what was written last is still in the log beside it
    own_file = tmp_path / "mlflow.db"
    with (
        closing(sqlite3.connect(fresh_database)) as fresh,
        closing(sqlite3.connect(own_file)) as own,
    ):
        fresh.backup(own)
    return f"sqlite:///{own_file}", str(tmp_path / "artifacts")


@pytest.fixture
def tracker(store: tuple[str, str]) -> Tracker:
    return Tracker(*store)


@pytest.fixture
def experiment(tracker: Tracker) -> str:
    return tracker.experiment("digits", metric="accuracy/valid")
