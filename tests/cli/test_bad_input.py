"""Bad input ends with exit code 2 and a message, and leaves nothing behind."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from .conftest import TINY, Run, Write, start


def _refused(run: Run, tmp_path: Path, arguments: list[str], *, expected: list[str]) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    for text in expected:
        assert text in result.stderr
    assert "Traceback" not in result.stderr
    after = [path for path in sorted(tmp_path.rglob("*")) if "__pycache__" not in path.parts]
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["launch", "digitz"], ["No study is called 'digitz'", "Did you mean digits"]),
        (["launch", "nowhere.py"], ["There is no study file", "nowhere.py"]),
        (["launch", "digits", "--smapler", "tpe"], ["No such option", "--sampler"]),
        (["launch", "digits", "--sampler", "tpo"], ["'tpo'", "tpe"]),
        (["launch", "digits", "--sampler-option", "multivariate"], ["KEY=VALUE"]),
        (["launch", "digits", "--sampler-option", "colour=1"], ["no option 'colour'"]),
        (["launch", "digits", "--trials", "0"], ["--trials", "x>=1"]),
        (["launch", "digits", "--classes", "a,b"], ["0,1"]),
        (["launch", "digits", "--classes", "7,12"], ["no class 12"]),
        (["launch", "digits", "--disk-limit", "much"], ["'much' is not a size"]),
        (["launch", "digits", "--name", "../up"], ["'../up' cannot be the name"]),
        (["launch", "digits", "--device", "warp"], ["unknown device 'warp'"]),
        (["launch", "mnist_mlp"], ["--download"]),
        (["launch"], ["Missing argument 'STUDY'"]),
        (["status"], ["No study is stored at sqlite:////", "/mlruns/optuna.db"]),
        (["status", "digits"], ["No study is stored at"]),
        (["stop", "digits"], ["No study is stored at"]),
        (["enqueue", "digits", "lr=1"], ["No study is stored at"]),
        (["enqueue", "digits", "lr"], ["KEY=VALUE"]),
        (["evaluate", "digits"], ["No study is stored at"]),
        (["ui"], ["nothing is tracked at"]),
        (["new", "a/b"], ["'a/b' cannot be the name"]),
    ],
)
def test_refused(arguments: list[str], expected: list[str], run: Run, tmp_path: Path) -> None:
    _refused(run, tmp_path, arguments, expected=expected)


STUDIES = {
    "an import error, with its line": (
        "import torch\nimport no_such_module\n",
        ["No module named 'no_such_module'", "mine.py, line 2"],
    ),
    "a syntax error, with its line": ("study = (\n", ["SyntaxError", "mine.py, line 1"]),
    "no study": ("x = 1\n", ["has no variable 'study'"]),
    "a recipe that raises, with its line": (
        TINY.replace("[units]", "[unitz]"),
        ["NameError", "'unitz'", "mine.py, line 12"],
    ),
    "a range that is none": (
        TINY.replace("0.01, 1.0, log", "1.0, 0.01, log"),
        ["Parameter 'lr'", "1.0"],
    ),
    "a start outside its range": (
        TINY.replace("stages=", "start={'lr': 5.0}, stages="),
        ["lr = 5.0 lies outside 0.01..1"],
    ),
    "a start with an unknown parameter": (
        TINY.replace("stages=", "start={'rate': 0.1}, stages="),
        ["no parameter 'rate'"],
    ),
    "a network that does not fit the loss": (
        TINY.replace("data.outputs", "3"),
        ["none of 3 sampled recipes can be trained"],
    ),
    "a recipe that returns nothing": (
        TINY.replace("    return Recipe(", "    Recipe("),
        ["returned NoneType"],
    ),
    "two objectives": (
        TINY.replace("stages=", "metric=['loss/valid', 'seconds'], stages="),
        ["one metric and one direction only"],
    ),
}


@pytest.mark.parametrize("problem", STUDIES)
def test_study_file_refused(problem: str, run: Run, write: Write, tmp_path: Path) -> None:
    text, expected = STUDIES[problem]
    write("mine.py", text)
    _refused(run, tmp_path, ["launch", "mine.py", "--workers", "1"], expected=expected)


def test_unreachable_database_is_named_without_its_password(run: Run, tmp_path: Path) -> None:
    url = "postgresql://me:s3cret@127.0.0.1:1/db"
    for command in (["launch", "digits"], ["status"], ["list"]):
        result = run(*command, "--storage", url)
        assert result.exit_code == 2
        assert "cannot be used" in result.stderr
        assert "postgresql+psycopg://me:***@127.0.0.1:1/db" in result.stderr
        assert "s3cret" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_database_of_another_program_is_left_alone(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    content = path.read_bytes()
    for command in (["launch", "digits"], ["status"]):
        result = run(*command, "--storage", f"sqlite:///{path}")
        assert result.exit_code == 2
        assert "belongs to another program" in result.stderr
        assert "customers" in result.stderr
    assert path.read_bytes() == content


def test_one_database_for_optuna_and_mlflow_is_refused(run: Run, tmp_path: Path) -> None:
    url = "sqlite:///both.db"
    _refused(
        run,
        tmp_path,
        ["launch", "digits", "--storage", url, "--tracking-uri", url],
        expected=["each needs a database of its own"],
    )


@pytest.mark.slow
def test_process_ends_with_code_2_and_no_traceback(tmp_path: Path) -> None:
    done = start(["launch", "digitz"], tmp_path)
    output, errors = done.communicate(timeout=60)
    assert done.returncode == 2
    assert output == ""
    assert errors.startswith("Error: No study is called 'digitz'")
    assert list(tmp_path.iterdir()) == []
