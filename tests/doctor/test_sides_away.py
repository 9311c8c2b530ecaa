"""One of Optuna, MLflow and the checkpoints cannot be reached: the others are compared."""

from __future__ import annotations

import shutil

import pytest

from nnstudy.doctor import diagnose
from nnstudy.errors import UserError
from tests.launching import Place
from tests.postgres import PostgresServer
from tests.tracking.served import Server

from .conftest import client, differences, look, places


def test_mlflow_that_is_not_there_is_said_and_not_made(launched: Place) -> None:
    uri = f"sqlite:///{launched.directory / 'other.db'}"
    (launched.checkpoints / "toy" / "search-x").mkdir()
    found = look(launched, tracking_uri=uri, fix=True)
    assert [one.finding.kind for one in found] == ["away", "stranger"]
    assert "MLflow is not compared: there is no database" in found[0].finding.text
    assert not (launched.directory / "other.db").exists()


@pytest.mark.slow
def test_another_mlflow_is_not_filled_with_runs(launched: Place, fresh_mlflow: object) -> None:
    found = look(launched, tracking_uri=f"sqlite:///{fresh_mlflow}", fix=True)
    assert [one.finding.kind for one in found] == ["away"]
    assert "has no experiment of study 'toy'" in found[0].finding.text


@pytest.mark.slow
def test_checkpoints_elsewhere_are_said_trial_by_trial_and_once(launched: Place) -> None:
    client(launched).update_run(launched.run(1).info.run_id, status="RUNNING")
    found = look(launched, checkpoints=launched.directory / "elsewhere")
    assert [one.finding.kind for one in found] == ["away", "run", *["weights"] * 3]
    assert "(see --checkpoints)" in found[0].finding.text


def test_without_optuna_checkpoints_and_mlflow_are_compared(launched: Place) -> None:
    stage = next((launched.checkpoints / "toy").iterdir())
    shutil.copytree(stage / "trial-00001", stage / "trial-00009")
    [file] = (stage / "trial-00002").iterdir()
    file.write_bytes(b"damaged")
    (launched.directory / "optuna.db").write_text("no database " * 100)
    found = differences(look(launched, fix=True))
    assert len(found) == 3
    assert found[0].startswith("away None: Optuna is not compared: ")
    assert f"weights 2: the file {file} is damaged" in found[1]
    assert found[2] == f"run 9: {stage / 'trial-00009'} belongs to no run in MLflow"


def test_an_unknown_study_is_refused(launched: Place) -> None:
    with pytest.raises(UserError, match="no study 'other' is stored here"):
        diagnose("other", places(launched))


@pytest.mark.postgres
@pytest.mark.slow
def test_a_postgres_that_is_stopped_is_said_without_its_password(
    postgres_server: PostgresServer, launched: Place
) -> None:
    url = postgres_server.new_database()
    postgres_server.stop()
    try:
        found = differences(look(launched, storage=url))
    finally:
        postgres_server.start()
    assert len(found) == 1
    assert "Connection refused" in found[0]
    assert postgres_server.password not in found[0]


@pytest.mark.slow
def test_an_mlflow_server_that_is_stopped_is_said(launched: Place) -> None:
    server = Server(launched.tracking_uri, str(launched.directory / "artifacts"))
    try:
        assert look(launched, tracking_uri=server.url, artifacts=None) == []
        server.stop()
        [found] = look(launched, tracking_uri=server.url, artifacts=None)
        assert found.finding.kind == "away"
        assert "Connection refused" in found.finding.text
        server.start()
        client(launched).update_run(launched.run(1).info.run_id, status="RUNNING")
        client(launched).delete_run(launched.run(2).info.run_id)
        assert differences(look(launched, tracking_uri=server.url, artifacts=None, fix=True)) == []
        assert look(launched) == []
    finally:
        server.stop()
