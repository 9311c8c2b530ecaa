from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from nnstudy.errors import UserError
from nnstudy.search.storage import open_storage, same_database, storage_url
from nnstudy.secret_urls import mask
from tests.postgres import PostgresServer
from tests.search.processes import run_at_once


def test_study_is_stored_and_found_again(any_storage_url: str) -> None:
    study = optuna.create_study(storage=open_storage(any_storage_url), study_name="a/b")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    again = optuna.load_study(study_name="a/b", storage=open_storage(any_storage_url))
    assert [trial.params for trial in again.trials] == [trial.params for trial in study.trials]


def test_sqlite_file_is_made_with_its_directory_and_a_write_ahead_log(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/new/deep/optuna.db")
    with storage.engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 60_000}


def test_sqlite_transaction_keeps_other_writers_out_from_its_begin(sqlite_url: str) -> None:
    storage = open_storage(sqlite_url)
    other = sqlite3.connect(storage.engine.url.database or "", timeout=0)
    with storage.engine.begin(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.close()


@pytest.mark.parametrize("name", ["a {x} b.db", "100%.db", "ü#1.db"])
def test_sqlite_path_may_hold_special_characters(tmp_path: Path, name: str) -> None:
    address = sa.URL.create("sqlite", database=str(tmp_path / name))
    optuna.create_study(storage=open_storage(str(address)), study_name="s")
    assert (tmp_path / name).stat().st_size > 0


def _open_and_join(url: str) -> int:
    storage = open_storage(url)
    optuna.create_study(storage=storage, study_name="shared", load_if_exists=True)
    with storage.engine.connect() as connection:
        return connection.scalar(sa.text("select count(*) from alembic_version")) or 0


@pytest.mark.slow
def test_eight_processes_may_start_at_once_on_an_empty_database(any_storage_url: str) -> None:
    assert run_at_once(_open_and_join, [(any_storage_url,)] * 8) == [1] * 8


@pytest.mark.parametrize(
    "url", ["mlruns/optuna.db", "", "sqlite:/x", "postgresql://u:p:x/y@h:no/d"]
)
def test_malformed_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(UserError, match=r"sqlite:///mlruns/optuna\.db"):
        open_storage(url)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true"])
def test_database_without_a_file_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="names no file"):
        open_storage(url)


def test_unknown_dialect_is_named() -> None:
    with pytest.raises(UserError, match="no database dialect 'nosuchdb'"):
        open_storage("nosuchdb://user:secret@host/name")


def test_missing_postgres_driver_is_named_with_its_extra() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from nnstudy.errors import UserError\n"
        "from nnstudy.search.storage import open_storage\n"
        "try: open_storage('postgresql://u:verysecret@127.0.0.1/db')\n"
        "except UserError as error: print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert "pip install 'nnstudy[postgres]'" in said
    assert "verysecret" not in said


def test_unreachable_server_is_told_without_the_password() -> None:
    with pytest.raises(UserError, match="Look whether the server runs") as caught:
        open_storage("postgresql://user:verysecret@127.0.0.1:1/name")
    assert "verysecret" not in str(caught.value)
    assert "127.0.0.1:1/name" in str(caught.value)


@pytest.mark.postgres
def test_wrong_password_and_missing_database_are_told(postgres_server: PostgresServer) -> None:
    with pytest.raises(UserError, match="password authentication failed") as caught:
        open_storage(postgres_server.url().replace(postgres_server.password, "a-wrong-one"))
    assert "a-wrong-one" not in str(caught.value)
    with pytest.raises(UserError, match='database "nowhere" does not exist') as caught:
        open_storage(postgres_server.url("nowhere"))
    assert postgres_server.password not in str(caught.value)


@pytest.mark.postgres
def test_storage_works_again_after_the_server_restarted(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    study = optuna.create_study(storage=open_storage(postgres_url))
    study.ask()
    postgres_server.crash()
    postgres_server.start()
    assert study.ask().number == 1


def test_database_of_another_program_is_refused_untouched(sqlite_url: str) -> None:
    engine = sa.create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("create table customers (id integer)")
    with pytest.raises(UserError, match=r"another program .*customers"):
        open_storage(sqlite_url)
    assert sa.inspect(engine).get_table_names() == ["customers"]


@pytest.mark.slow
def test_database_of_mlflow_is_refused_untouched(sqlite_url: str) -> None:
    from mlflow.store.db.utils import _initialize_tables

    engine = sa.create_engine(sqlite_url)
    _initialize_tables(engine)
    before = set(sa.inspect(engine).get_table_names())
    with pytest.raises(UserError, match="Optuna and MLflow need two databases"):
        open_storage(sqlite_url)
    assert set(sa.inspect(engine).get_table_names()) == before


def test_file_that_is_no_database_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database at all, " * 50)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"notes\.txt is not a database"):
        open_storage(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be made .*--storage"):
        open_storage(f"sqlite:///{tmp_path}/file/optuna.db")


def _open_as_nobody(url: str) -> str:
    os.setuid(65534)
    try:
        open_storage(url)
    except UserError as error:
        return str(error)
    return "opened"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_directory_that_is_not_writable_is_named() -> None:
    with tempfile.TemporaryDirectory() as directory:  # others may not even enter tmp_path
        Path(directory).chmod(0o755)
        said = run_at_once(_open_as_nobody, [(f"sqlite:///{directory}/optuna.db",)])[0]
    assert "cannot be opened for writing" in said
    assert directory in said


@pytest.mark.parametrize(
    ("revision", "cure"),
    [("v3.0.0.a", "optuna storage upgrade"), ("v99.0.0.a", "pip install -U optuna")],
)
def test_schema_of_another_optuna_is_refused_with_the_cure(
    sqlite_url: str, revision: str, cure: str
) -> None:
    storage = open_storage(sqlite_url)
    with storage.engine.begin() as connection:
        connection.execute(
            sa.text("update alembic_version set version_num = :revision"), {"revision": revision}
        )
    with pytest.raises(UserError, match=cure):
        open_storage(sqlite_url)


def test_half_made_schema_is_completed(sqlite_url: str) -> None:
    storage = open_storage(sqlite_url)
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("drop table version_info")
        connection.exec_driver_sql("drop table alembic_version")
    optuna.create_study(storage=open_storage(sqlite_url), study_name="s")


def test_url_comes_from_option_then_environment_then_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NNSTUDY_STORAGE", "sqlite:///env.db")
    assert storage_url("sqlite:///given.db") == f"sqlite:///{tmp_path}/given.db"
    assert storage_url() == f"sqlite:///{tmp_path}/env.db"
    monkeypatch.delenv("NNSTUDY_STORAGE")
    assert storage_url() == f"sqlite:///{tmp_path}/mlruns/optuna.db"


@pytest.mark.parametrize(
    "url", ["sqlite:////tmp/a.db", "postgresql://me@host/db", "sqlite:///:memory:", "nonsense"]
)
def test_urls_without_a_relative_path_stay_as_they_are(url: str) -> None:
    assert storage_url(url) == url


@given(st.text(alphabet="abcXYZ019:/@?&=%#+ ", min_size=8), st.booleans())
def test_no_password_survives_masking(password: str, in_query: bool) -> None:
    if in_query:
        password = password.replace("&", "")
        url = f"postgresql://host/name?user=me&password={password}"
    else:
        url = f"postgresql://me:{password}@host/name"
    assert mask(url).count("***") == 1
    assert mask(url).replace("***", password) == url


def test_masking_leaves_other_urls_alone() -> None:
    for url in ("sqlite:///mlruns/optuna.db", "sqlite:////a:b/c@d.db", "http://host:5000/x"):
        assert mask(url) == url


@pytest.mark.parametrize(
    ("storage", "tracking", "same"),
    [
        ("sqlite:///mlruns/a.db", "sqlite:///./mlruns/../mlruns/a.db", True),
        ("sqlite:///mlruns/a.db", "sqlite:///mlruns/b.db", False),
        ("sqlite:///mlruns/a.db", "http://127.0.0.1:5000", False),
        ("sqlite:///mlruns/a.db", "mlruns", False),
        ("postgresql://a:x@localhost/db", "postgresql+psycopg2://b:y@127.0.0.1:5432/db", True),
        ("postgres://h/db", "postgresql://h/db", True),
        ("postgresql://h/db", "postgresql://h/other", False),
        ("postgresql://h/db", "postgresql://h:5433/db", False),
        ("postgresql://h/db", "postgresql://h/db?options=-csearch_path%3Dmlflow", False),
        ("postgresql://h/db", "mysql://h/db", False),
    ],
)
def test_same_database_is_recognised(storage: str, tracking: str, same: bool) -> None:
    assert same_database(storage, tracking) is same
