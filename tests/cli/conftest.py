from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner, Result

from nnstudy.cli import main

ROOT = Path(__file__).resolve().parents[2]

TINY = """
from functools import partial

import torch
from nnstudy import Recipe, Stage, Study, datasets, models


def recipe(trial, data):
    units = trial.suggest_categorical("units", [8, 16])
    lr = trial.suggest_float("lr", 0.01, 1.0, log=True)
    return Recipe(
        network=models.mlp(data.shape, [units], data.outputs),
        optimizer=partial(torch.optim.SGD, lr=lr),
    )


study = Study("tiny", recipe, data=datasets.digits, stages=[Stage(trials=3, epochs=2)])
"""

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
    "COLUMNS": "200",
}

Run = Callable[..., Result]
Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def _clean_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty working directory, and nothing left behind by imported study files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("NNSTUDY_STORAGE", "MLFLOW_TRACKING_URI", "NNSTUDY_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in _ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def run() -> Run:
    """Runs a command in this process; exceptions of ours are raised."""

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, prog_name="nnstudy", catch_exceptions=False)

    return invoke


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file into the working directory."""

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    return write_file


@pytest.fixture(scope="session")
def _launched_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("launched")
    (directory / "tiny.py").write_text(TINY)
    done = start(["launch", "tiny.py", "--workers", "1"], directory)
    output, errors = done.communicate(timeout=120)
    assert done.returncode == 0, errors
    (directory / "output.txt").write_text(output)
    return directory


@pytest.fixture
def launched(_launched_once: Path, tmp_path: Path) -> Path:
    """The working directory, with the study ``tiny`` launched; its own copy of it."""
    shutil.copytree(_launched_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


def start(arguments: Sequence[str], directory: Path) -> subprocess.Popen[str]:
    """Starts a command as a process of its own."""
    environment = {**os.environ, **_ENVIRONMENT}
    return subprocess.Popen(
        [sys.executable, "-m", "nnstudy", *arguments],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
