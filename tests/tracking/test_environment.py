from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nnstudy.tracking import environment
from nnstudy.tracking.environment import _commit


def test_versions_and_platform_are_told() -> None:
    told = environment()
    assert told["nnstudy.env.python"] == ".".join(map(str, sys.version_info[:3]))
    names = ("torch", "optuna", "mlflow", "numpy", "platform")
    assert {f"nnstudy.env.{name}" for name in names} <= told.keys()
    assert all(isinstance(value, str) for value in told.values())


def test_commit_is_told_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _commit.cache_clear()
    assert "mlflow.source.git.commit" not in environment()
    for arguments in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *arguments], check=True)
    _commit.cache_clear()
    told = environment()
    _commit.cache_clear()
    assert len(told["mlflow.source.git.commit"]) == 40
    assert told["mlflow.source.git.dirty"] == "false"


def test_the_room_is_entered_without_heavy_imports() -> None:
    code = (
        "import sys, nnstudy.tracking as t; t.environment();"
        "print({'mlflow', 'torch', 'optuna', 'sqlalchemy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
