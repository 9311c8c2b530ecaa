"""The doctor beside workers, on real databases and servers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nnstudy.search.storage import NothingStored, open_storage
from nnstudy.search.stored import stored_stages
from tests.launching import Place, make_place, toy

from .conftest import client, differences, look

_SLOW_STUDY = """
import time
from functools import partial

import torch
from nnstudy import Callback, Recipe, Stage, Study, datasets, models


class Slowly(Callback):
    def on_epoch_end(self, training, record):
        time.sleep(0.1)


def recipe(trial, data):
    return Recipe(
        network=models.mlp(data.shape, [8], data.outputs),
        optimizer=partial(torch.optim.SGD, lr=trial.suggest_float("lr", 0.01, 1.0, log=True)),
        callbacks=[Slowly()],
    )


study = Study(
    "toy",
    recipe,
    data=datasets.digits,
    stages=[Stage(trials=12, epochs=6, pruner="none")],
    early_stopping=None,
)
"""


@pytest.mark.slow
def test_a_study_that_runs_is_not_disturbed(place: Place, tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(_SLOW_STUDY)
    options = place.options()
    command = [sys.executable, "-m", "nnstudy", "launch", "toy.py", "--workers", "2", "--quiet"]
    command += ["--storage", options["storage"], "--tracking-uri", options["tracking_uri"]]
    command += ["--artifacts", options["artifacts"], "--checkpoints", str(place.checkpoints)]
    launched = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    looks = []
    while launched.poll() is None:
        if _is_stored(place):
            looks.append(look(place, fix=True, pause=1.0))
    assert launched.communicate()[0].startswith("toy: 12 of 12 trials finished (12 complete)")
    assert len(looks) > 3
    # Before its workers have a trial, a stage looks like one that was left.
    assert {one.finding.kind for found in looks for one in found} <= {"stage run", "waiting"}
    assert differences(look(place)) == []
    for number in range(12):
        assert [step for step, _ in place.curves(number)["epoch"]] == [1, 2, 3, 4, 5, 6]
        assert place.run(number).info.status == "FINISHED"
    assert len(list(place.checkpoints.rglob("*.safetensors"))) == 12


@pytest.mark.slow
def test_what_is_put_right_can_be_gone_on_with(
    any_storage_url: str, tmp_path: Path, fresh_mlflow: Path
) -> None:
    place = make_place(tmp_path / "place", fresh_mlflow, any_storage_url)
    place.launch(toy())
    client(place).update_run(place.run(1).info.run_id, status="RUNNING")
    client(place).update_run(place.stage_run().info.run_id, status="RUNNING")
    assert len(differences(look(place))) == 2
    assert differences(look(place, fix=True)) == []
    assert look(place) == []
    assert place.launch(toy(), trials=4).complete
    assert look(place) == []


def _is_stored(place: Place) -> bool:
    """Tells whether the launch has come so far that there is a study to look at."""
    if not (place.directory / "optuna.db").exists():
        return False
    try:
        return bool(stored_stages(open_storage(place.storage, create=False), "toy"))
    except NothingStored:
        return False
