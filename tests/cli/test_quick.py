from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.launching import fresh_mlflow, make_place

from .conftest import TINY, Run, Write

__all__ = ["fresh_mlflow"]

QUICK = ("launch", "tiny.py", "--quick", "--epochs", "5")


@pytest.fixture(autouse=True)
def _mlflow(
    fresh_mlflow: Path,  # the fixture
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A database of its own, which takes long to make."""
    place = make_place(tmp_path_factory.mktemp("quick") / "place", fresh_mlflow)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.tracking_uri)


def test_each_validation_has_a_line_and_the_end_a_table_and_verdicts(
    run: Run, write: Write, tmp_path: Path
) -> None:
    write("tiny.py", TINY)
    result = run(*QUICK, "--validate-every", "500")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert re.fullmatch(
        r"tiny: 230 training examples of the classes 0, 1, 22 to validate on and 22 others to"
        r" judge by; each training up to 5 passes or 20 s",
        lines[0],
    )
    told = [line for line in lines if re.search(r" at rate \S+: \d+ examples, loss ", line)]
    assert re.fullmatch(
        r"linear softmax at rate 0\.01: 500 examples, loss 0\.\d{4}, \d+\.\d% right", told[0]
    )
    assert told[-1].startswith("recipe at rate ")
    headline = next(line for line in lines if line.startswith("tiny: the recipe learns; "))
    table = lines[lines.index(headline) + 1 :]
    assert table[0].split() == ["model", "rate", "weights", "passes", "time", "best", "ended"]
    chosen = [line.split()[0] for line in table if " *  " in line]
    assert chosen == ["linear", "recipe"]
    pattern = (
        r"recipe: 2\d of 22 right, \S+% \(95 % interval \S+% to 100\.0%\), chance 50\.0%:"
        r" better than chance"
    )
    assert any(re.fullmatch(pattern, line) for line in table)
    assert "  at units=8, lr=0.1" in table
    assert lines[-1].startswith("next: nnstudy check tiny.py  (")
    assert not (tmp_path / "mlruns" / "optuna.db").exists()


@pytest.mark.slow
def test_quiet_has_one_line_and_json_has_validations_and_the_result(run: Run, write: Write) -> None:
    write("tiny.py", TINY)
    quiet = run(*QUICK, "--quiet")
    assert quiet.exit_code == 0
    (line,) = quiet.stdout.splitlines()
    assert line.startswith("tiny: the recipe learns; ")
    result = run(*QUICK, "--classes", "3,8", "--examples", "100", "--json")
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events[:2]] == ["message", "quick"]
    assert {"model", "rate", "examples_seen", "loss_valid", "accuracy_valid"} <= set(events[1])
    found = events[-1]
    assert found["event"] == "result"
    assert found["better"] is True
    assert (found["classes"], found["examples"]) == (["3", "8"], 100)
    linear, recipe = found["learners"]
    assert linear["name"] == "linear softmax"
    assert recipe["verdict"]["low"] > recipe["verdict"]["chance"]
    assert recipe["params"]["units"] == 8
    assert len(events) == 2 + sum(
        run["validations"] for learner in found["learners"] for run in learner["runs"]
    )


SHUFFLED = TINY.replace(
    "def recipe",
    """def noise():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(600, 4, generator=generator)
    return datasets.tensors(inputs, torch.randint(0, 2, (600,), generator=generator))


def recipe""",
).replace("data=datasets.digits", "data=noise")


def test_what_does_not_learn_is_told_with_what_to_try_and_is_no_error(
    run: Run, write: Write
) -> None:
    write("tiny.py", SHUFFLED)
    result = run(*QUICK)
    assert result.exit_code == 0, result.output
    assert "tiny: nothing was seen to learn; " in result.output
    assert result.output.count(": not better than chance") == 3
    *_, first, second = result.output.splitlines()
    assert first.startswith("next: nnstudy check tiny.py")
    assert second.startswith("then: nnstudy lr-find tiny.py")


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["--trials", "5"], "--trials belongs to a search"),
        (["--workers", "2", "--sampler", "grid"], "--workers, --sampler belong to a search"),
        (["--engine", "local"], "--engine"),
        (["--no-preflight"], "--no-preflight"),
        (["--storage", "sqlite:///x.db"], "--storage"),
        (["--checkpoints", "here"], "--checkpoints"),
        (["--selection", "0.1"], "--selection"),
        (["--pruner-option", "n_warmup_steps=2"], "--pruner-option"),
        (["--deterministic"], "--deterministic"),
    ],
)
def test_options_of_a_search_are_refused_by_name(
    typed: list[str], named: str, run: Run, write: Write, tmp_path: Path
) -> None:
    write("tiny.py", TINY)
    result = run(*QUICK, *typed)
    assert result.exit_code == 2
    assert named in result.stderr
    assert not (tmp_path / "mlruns").exists()


def test_a_storage_that_the_environment_names_is_not_touched(
    run: Run, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNSTUDY_STORAGE", f"sqlite:///{tmp_path}/own.db")
    write("tiny.py", TINY)
    result = run(*QUICK, "--quiet", "--name", "other")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("other: ")
    assert not (tmp_path / "own.db").exists()


@pytest.mark.parametrize(
    ("text", "typed", "expected"),
    [
        (TINY, ["--classes", "0,99"], "has no class 99"),
        (TINY.replace("[units]", "[unitz]"), [], "NameError: name 'unitz'"),
        (TINY, ["--device", "warp"], "unknown device 'warp'"),
    ],
)
def test_bad_input_ends_with_2_before_anything_is_written(
    text: str,
    typed: list[str],
    expected: str,
    run: Run,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    write("tiny.py", text)
    result = run(*QUICK, *typed)
    assert result.exit_code == 2, result.output
    assert expected in result.stderr
    assert not (tmp_path / "mlruns").exists()
