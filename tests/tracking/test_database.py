from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from mlflow.tracking import MlflowClient

from nnstudy.errors import UserError
from nnstudy.tracking import Tracker

_START_AT_ONCE = """
import sys
from nnstudy.tracking import Tracker
tracker = Tracker(sys.argv[1], sys.argv[2])
experiment = tracker.experiment("digits", metric="accuracy/valid")
stage = tracker.stage_run(experiment, "digits", "coarse", key="digits/coarse")
print(experiment, stage.run_id)
"""


def start_at_once(processes: int, uri: str, artifacts: str) -> set[str]:
    """Returns the distinct answers of several processes that start on one store."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _START_AT_ONCE, uri, artifacts],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )
        for _ in range(processes)
    ]
    answers = set()
    for process in started:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        answers.add(out)
    return answers


def test_directories_are_made_and_the_file_is_in_wal_mode(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / "mlflow.db"
    Tracker(f"sqlite:///{file}", str(tmp_path / "artifacts"))
    assert sqlite3.connect(file).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_first_use_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path))
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_optunas_database_is_refused_untouched(tmp_path: Path) -> None:
    file = tmp_path / "optuna.db"
    optuna.create_study(storage=f"sqlite:///{file}")
    tables = sqlite3.connect(file).execute("SELECT name FROM sqlite_master").fetchall()
    with pytest.raises(UserError, match=r"Optuna's database.*a file of its own"):
        Tracker(f"sqlite:///{file}")
    assert sqlite3.connect(file).execute("SELECT name FROM sqlite_master").fetchall() == tables
    assert sqlite3.connect(file).execute("PRAGMA journal_mode").fetchone() != ("wal",)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bookmarks.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.commit()
    with pytest.raises(UserError, match=r"another program.*bookmarks"):
        Tracker(f"sqlite:///{file}")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database " * 100)
    with pytest.raises(UserError, match="file is not a database"):
        Tracker(f"sqlite:///{file}")


def test_a_path_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/x/mlflow.db cannot be made"):
        Tracker(f"sqlite:///{tmp_path / 'file' / 'x' / 'mlflow.db'}")


def test_an_older_schema_is_refused_with_the_cure(store: tuple[str, str]) -> None:
    file = store[0].removeprefix("sqlite:///")
    connection = sqlite3.connect(file)
    connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    connection.commit()
    with pytest.raises(UserError, match="mlflow db upgrade"):
        Tracker(*store)


def test_unreachable_postgres_is_said_without_the_password() -> None:
    with pytest.raises(UserError, match="cannot be opened") as caught:
        Tracker("postgresql://ann:s3cret-word@127.0.0.1:9/runs")
    assert "s3cret-word" not in str(caught.value)
    assert "ann:***@" in str(caught.value)


@pytest.mark.slow
def test_a_process_killed_while_it_creates_the_database_breaks_nothing(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    killed_while_creating = 0
    for delay in (0.1, 0.3, 0.5):
        process = subprocess.Popen(
            [sys.executable, "-c", _START_AT_ONCE, uri, str(tmp_path)],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )
        while not (tmp_path / "mlflow.db.new").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(delay)
        process.kill()
        process.wait()
        killed_while_creating += (tmp_path / "mlflow.db.new").exists()
        if (tmp_path / "mlflow.db").exists():
            break
    assert killed_while_creating
    Tracker(uri, str(tmp_path)).experiment("digits", metric="loss/valid")


@pytest.mark.slow
def test_many_processes_may_initialise_one_sqlite_file_at_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    answers = start_at_once(6, uri, str(tmp_path / "artifacts"))
    assert len(answers) == 1
    experiment = answers.pop().split()[0]
    assert len(MlflowClient(uri).search_runs([experiment])) == 1


@pytest.mark.slow
@pytest.mark.postgres
def test_many_processes_may_initialise_one_postgres_database_at_once(
    postgres_url: str, tmp_path: Path
) -> None:
    assert len(start_at_once(4, postgres_url, str(tmp_path / "artifacts"))) == 1


@pytest.mark.slow
@pytest.mark.postgres
def test_optunas_postgres_database_is_refused(postgres_url: str) -> None:
    url = postgres_url.replace("postgresql://", "postgresql+psycopg://")
    optuna.create_study(storage=url)
    with pytest.raises(UserError, match="a database or schema of its own"):
        Tracker(postgres_url)
