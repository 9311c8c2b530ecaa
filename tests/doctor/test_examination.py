"""What a study would need, tried out on real files, databases and servers."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from nnstudy.doctor import Check, Places, examine
from nnstudy.doctor.servers import engine_of
from nnstudy.doctor.versions import check_versions
from nnstudy.search.storage import open_storage
from nnstudy.tracking import Tracker
from tests.launching import Place
from tests.postgres import PostgresServer
from tests.tracking.served import Server

from .conftest import places

_HOLD = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(60)
"""


def wrong(given: Places) -> list[Check]:
    """What is not as it should be, of what a test can see to."""
    return [
        check
        for check in examine(given)
        if check.verdict != "ok" and check.what not in ("CPU", "memory", "CUDA")
    ]


def said(given: Places) -> str:
    return "\n".join(f"{c.verdict} {c.what}: {c.text} -> {c.cure}" for c in examine(given))


def test_an_empty_place_is_fine_and_stays_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNSTUDY_STORAGE", raising=False)
    text = said(Places())
    assert "problem" not in text
    assert "warning" not in text
    for expected in (
        f"{tmp_path}/mlruns/optuna.db is not there yet, the first launch makes it",
        f"{tmp_path}/mlruns/mlflow.db is not there yet, the first launch makes it",
        "a write takes",
        "the write-ahead log works",
        "artifacts: written, read and deleted",
        "cores may be used",
        "checkpoints, made by the first launch: written and read",
    ):
        assert expected in text
    assert list(tmp_path.iterdir()) == []


def test_a_stored_study_is_not_touched(launched: Place) -> None:
    before = launched.dump(), sorted(launched.directory.rglob("*[!ml]"))
    assert wrong(places(launched)) == []
    assert (launched.dump(), sorted(launched.directory.rglob("*[!ml]"))) == before


def test_one_database_for_both_is_refused_with_the_cure(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'both.db'}"
    [found] = wrong(Places(url, url, checkpoints=tmp_path / "checkpoints"))
    assert found.verdict == "problem"
    assert "is given to Optuna and to MLflow" in found.text
    assert "another file" in found.cure


@pytest.mark.slow
def test_a_database_of_the_other_program_is_refused(launched: Place) -> None:
    found = wrong(places(launched, storage=launched.tracking_uri, tracking_uri=launched.storage))
    assert [(check.what, check.verdict) for check in found] == [
        ("storage", "problem"),
        ("tracking", "problem"),
    ]
    assert "is MLflow's" in found[0].text
    assert "is Optuna's database" in found[1].text


@pytest.fixture
def holder(launched: Place) -> Iterator[int]:
    """A process that holds Optuna's database."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(launched.directory / "optuna.db")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield process.pid
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_locked_database_is_told_with_who_holds_it(launched: Place, holder: int) -> None:
    [found] = wrong(places(launched))
    assert (found.what, found.verdict) == ("storage", "problem")
    assert "has been locked for more than 3 seconds" in found.text
    assert f"{holder} (python" in found.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "message"),
    [("v2.6.0.a", "by an older Optuna"), ("v99.0.0.a", "by a newer Optuna")],
)
def test_a_database_of_another_optuna_is_told_with_the_cure(
    launched: Place, version: str, message: str
) -> None:
    with closing(sqlite3.connect(launched.directory / "optuna.db")) as database, database:
        database.execute("update alembic_version set version_num = ?", (version,))
    [found] = wrong(places(launched))
    assert found.what == "storage"
    assert message in found.text


@pytest.mark.slow
def test_a_file_that_is_no_database_is_a_problem(launched: Place) -> None:
    for name, what in (("optuna.db", "storage"), ("mlflow.db", "tracking")):
        (launched.directory / name).write_text("no database " * 100)
        found = [check for check in wrong(places(launched)) if check.what == what]
        assert [check.verdict for check in found] == ["problem"]
        assert "not a database" in found[0].text


@pytest.mark.slow
def test_places_that_are_files_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = wrong(
        Places(
            f"sqlite:///{tmp_path / 'file' / 'optuna.db'}",
            f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}",
            str(tmp_path / "file" / "artifacts"),
            checkpoints=tmp_path / "file" / "checkpoints",
        )
    )
    assert [check.what for check in found] == ["storage", "tracking", "checkpoints"]
    assert {check.verdict for check in found} == {"problem"}
    assert all("Not a directory" in check.text for check in found)
    assert all(check.cure for check in found)


@pytest.mark.slow
def test_artifacts_that_cannot_be_written_are_a_problem(launched: Place) -> None:
    (launched.directory / "file").touch()
    [found] = wrong(places(launched, artifacts=str(launched.directory / "file" / "artifacts")))
    assert (found.what, found.verdict) == ("artifacts", "problem")


def test_versions_are_compared_with_what_the_package_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site" / "nnstudy-0.1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: nnstudy\nVersion: 0.1.0\nRequires-Python: >=3.99\n"
        "Requires-Dist: optuna<5\nRequires-Dist: click>=8\nRequires-Dist: not-there>=1\n"
        "Requires-Dist: not-asked-for; extra == 'ray'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    texts = [check.text for check in check_versions() if check.verdict != "ok"]
    assert len(texts) == 3
    assert "is none of >=3.99" in texts[0]
    assert "optuna is 5" in texts[1]
    assert "but must be <5" in texts[1]
    assert texts[2] == "not-there is not installed"


@pytest.mark.postgres
def test_postgres_tells_version_connections_and_clock(
    postgres_url: str, tmp_path: Path, launched: Place
) -> None:
    given = places(launched, storage=postgres_url)
    empty = said(given)
    assert "is empty, the first launch makes its tables" in empty
    assert sa.inspect(engine_of(postgres_url)).get_table_names() == []
    open_storage(postgres_url).engine.dispose()
    text = said(given)
    assert wrong(given) == []
    for expected in (
        "written and read, a write takes",
        "ok storage: PostgreSQL 1",
        "of the server's 200 connections are free",
        "this machine's; leases use the database's alone",
    ):
        assert expected in text
    assert open_storage(postgres_url).get_all_studies() == []


@pytest.mark.postgres
def test_passwords_are_never_shown(postgres_server: PostgresServer, launched: Place) -> None:
    url = postgres_server.new_database()
    wrong_one = url.replace(postgres_server.password, "hunter2secret")
    for given in (
        places(launched, storage=url),
        places(launched, tracking_uri=url),
        places(launched, storage=url, tracking_uri=url),
        places(launched, storage=wrong_one),
        places(launched, tracking_uri=wrong_one),
        places(launched, storage=url.replace("127.0.0.1", "127.0.0.1.invalid")),
    ):
        text = said(given)
        assert "***" in text
        assert postgres_server.password not in text
        assert "hunter2secret" not in text
    assert "password authentication failed" in said(places(launched, storage=wrong_one))


@pytest.mark.postgres
def test_two_schemas_of_one_postgres_database_are_no_problem(
    postgres_url: str, launched: Place
) -> None:
    with engine_of(postgres_url).begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA mlflow"))
    other = f"{postgres_url}?options=-csearch_path%3Dmlflow"
    assert wrong(places(launched, storage=postgres_url, tracking_uri=other)) == []


@pytest.fixture(scope="module")
def server(fresh_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("served")
    with (
        closing(sqlite3.connect(fresh_mlflow)) as fresh,
        closing(sqlite3.connect(directory / "mlflow.db")) as own,
    ):
        fresh.backup(own)
    running = Server(f"sqlite:///{directory / 'mlflow.db'}", str(directory / "artifacts"))
    yield running
    running.stop()


@pytest.mark.slow
def test_an_mlflow_server_is_asked_for_its_version_and_artifacts(
    server: Server, launched: Place
) -> None:
    given = places(launched, tracking_uri=server.url, artifacts=None)
    # Its only experiment was made without the server, and its artifacts are a path here.
    [found] = wrong(given)
    assert (found.what, found.verdict) == ("artifacts", "warning")
    assert "has every client write artifacts to" in found.text
    Tracker(server.url).experiment("other", metric="loss/valid")
    text = said(given)
    assert f"ok tracking: {server.url} answers, MLflow 3." in text
    assert "ok artifacts: mlflow-artifacts:" in text
    assert wrong(given) == []


@pytest.mark.slow
def test_an_mlflow_server_that_is_away_is_a_problem(server: Server, launched: Place) -> None:
    server.stop()
    try:
        [found] = wrong(places(launched, tracking_uri=server.url, artifacts=None))
    finally:
        server.start()
    assert (found.what, found.verdict) == ("tracking", "problem")
    assert "Connection refused" in found.text
