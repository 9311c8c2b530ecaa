"""What the doctor prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from .conftest import Run


@pytest.fixture
def damaged(launched: Path) -> Path:
    """A run that goes on for ever, and a file that nobody needs."""
    client = MlflowClient(f"sqlite:///{launched}/mlruns/mlflow.db")
    [run] = client.search_runs(["1"], "params.`trial/number` = '1'")
    client.update_run(run.info.run_id, status="RUNNING")
    [stage] = (launched / "mlruns" / "checkpoints" / "tiny").iterdir()
    (stage / "trial-00077").mkdir()
    return stage / "trial-00077"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look comes at once."""
    monkeypatch.setattr("nnstudy.doctor.comparison.time.sleep", lambda _: None)


def test_doctor_tells_of_each_thing_and_ends_well(launched: Path, run: Run) -> None:
    result = run("doctor")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("ok       versions: nnstudy ")
    assert f"ok       tracking: sqlite:///{launched}/mlruns/mlflow.db: opened" in lines
    assert lines[-1].startswith("no problems, ")
    checks = json.loads(run("doctor", "--json").stdout)
    assert checks["problems"] == 0
    assert len(checks["checks"]) == len(lines) - 1


def test_a_problem_comes_with_its_cure_and_exit_code_2(launched: Path, run: Run) -> None:
    url = f"sqlite:///{launched}/mlruns/optuna.db"
    result = run("doctor", "--tracking-uri", url)
    assert result.exit_code == 2
    assert "problem  storage: sqlite:///" in result.stdout
    assert "         -> give one of them another file" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("1 problem, ")


def test_a_study_is_compared_and_put_right(damaged: Path, run: Run) -> None:
    told = run("doctor", "tiny")
    assert told.exit_code == 2
    lines = told.stdout.splitlines()
    for expected in (
        "differs  search trial 1: its run has status RUNNING instead of FINISHED",
        "         -> write what Optuna has",
        f"differs  search trial 77: {Path('mlruns', *damaged.parts[-4:])} belongs to no trial",
        "tiny: 2 differences",
        "to put right what can be: nnstudy doctor tiny --fix",
    ):
        assert expected in lines
    found = json.loads(run("doctor", "tiny", "--json").stdout)
    assert found["differences"] == 2
    assert {one["kind"] for one in found["findings"]} == {"run", "orphan"}
    fixed = run("doctor", "tiny", "--fix")
    assert fixed.exit_code == 0
    assert fixed.stdout.splitlines()[-1] == "tiny: no differences left, 2 put right"
    assert not damaged.exists()
    again = run("doctor", "tiny")
    assert (again.exit_code, again.stdout) == (0, "tiny: no differences\n")


def test_fix_needs_a_name(run: Run) -> None:
    result = run("doctor", "--fix")
    assert result.exit_code == 2
    assert "--fix needs the NAME of a stored study" in result.stderr


def test_an_unknown_study_is_refused_with_those_there_are(launched: Path, run: Run) -> None:
    result = run("doctor", "tinny")
    assert result.exit_code == 2
    assert "stored are: tiny" in result.stderr


def test_a_side_that_is_away_is_told_and_the_rest_compared(damaged: Path, run: Run) -> None:
    result = run("doctor", "tiny", "--tracking-uri", "sqlite:///elsewhere.db")
    assert result.exit_code == 2
    assert "differs  MLflow is not compared: there is no database" in result.stdout
    assert "trial-00077 belongs to no trial" in result.stdout
    assert not Path("elsewhere.db").exists()
