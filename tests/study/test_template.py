from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from nnstudy import Training
from nnstudy.data import load
from nnstudy.errors import UserError
from nnstudy.study.loading import load_study
from nnstudy.study.template import new_study
from nnstudy.training import Recipe

from .conftest import Write


def test_new_study_runs_as_it_is(write: Write) -> None:
    assert new_study("my-first.one") == Path("studies/my-first.one.py")
    study = load_study("my-first.one").study
    assert study.name == "my-first.one"
    data = load(study.data, study.split)
    search = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    search.enqueue_trial(study.start_points[0])
    for _ in range(3):
        recipe = study.recipe(search.ask(), data)
        assert isinstance(recipe, Recipe)
        records = list(Training(recipe, data, epochs=1))
        assert 0 <= records[0].values["accuracy/valid"] <= 1


def test_first_trial_of_a_new_study_learns(write: Write) -> None:
    new_study("mine")
    study = load_study("mine").study
    data = load(study.data, study.split)
    search = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    search.enqueue_trial({**study.start_points[0], "units": 64, "depth": 1, "dropout": 0.0})
    recipe = study.recipe(search.ask(), data)
    assert isinstance(recipe, Recipe)
    *_, last = Training(recipe, data, epochs=10)
    assert last.values["accuracy/valid"] > 0.9


def test_new_study_is_formatted_and_free_of_lint(write: Write, tmp_path: Path) -> None:
    path = new_study("mine").absolute()
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    assert ruff, "ruff is in the test extra"
    for command in (["format", "--diff"], ["check", "--select", "E,F,I,W,B"]):
        done = subprocess.run(
            [ruff, *command, "--isolated", "--no-cache", str(path)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_existing_file_is_not_overwritten(write: Write) -> None:
    write("studies/mine.py", "precious")
    with pytest.raises(UserError, match=r"studies/mine\.py exists already"):
        new_study("mine")
    assert Path("studies/mine.py").read_text() == "precious"


def test_folder_that_is_a_file_is_named(write: Write) -> None:
    write("studies", "")
    with pytest.raises(UserError, match="studies exists already"):
        new_study("mine")


@pytest.mark.parametrize("name", ["../mine", "/tmp/mine", "", ".mine", "a b"])
def test_name_that_leads_elsewhere_writes_nothing(write: Write, name: str) -> None:
    with pytest.raises(UserError, match="name"):
        new_study(name)
    assert not Path("studies").exists()
