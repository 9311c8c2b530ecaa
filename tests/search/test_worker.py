"""Workers: failing recipes, requests to stop, workers that vanish."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import optuna
import pytest
from optuna.trial import TrialState

from nnstudy import Callback, Recipe
from nnstudy.data import Data
from nnstudy.errors import UserError
from nnstudy.search import requests
from nnstudy.search.leases import Leases
from nnstudy.training import Record, Training
from tests.launching import Place, recipe, toy

ROOT = Path(__file__).resolve().parents[2]


def is_real(trial: optuna.Trial) -> bool:
    """Whether a trial is one of the search, not one of the looks at the recipe before."""
    return trial.study.study_name == "toy/search"


def test_a_recipe_that_always_raises_stops_after_three_trials_with_the_traceback(
    place: Place,
) -> None:
    def broken(trial: optuna.Trial, data: Data) -> Recipe:
        made = recipe(trial, data)
        if is_real(trial):
            raise ArithmeticError("no such luck")
        return made

    with pytest.raises(UserError) as raised:
        place.launch(toy(broken, trials=10))

    message = str(raised.value)
    assert "all of the first 3 trials of 'toy/search' failed" in message
    assert 'raise ArithmeticError("no such luck")' in message
    assert f"{__file__}" in message
    assert [trial.state for trial in place.trials()] == [TrialState.FAIL] * 3
    run = place.run(2)
    assert (run.info.status, run.data.tags["nnstudy.state"]) == ("FAILED", "failed")
    assert run.data.tags["nnstudy.reason"] == "ArithmeticError: no such luck"
    assert set(run.data.params) >= {"lr", "units", "batch_size"}


def test_a_recipe_that_raises_sometimes_fails_those_trials_and_no_others(place: Place) -> None:
    def moody(trial: optuna.Trial, data: Data) -> Recipe:
        if is_real(trial) and trial.number in (0, 2):
            sys.exit("not today") if trial.number else 1 / 0
        return recipe(trial, data)

    result = place.launch(toy(moody, trials=4, epochs=1))

    assert result.complete
    assert result.endings == {"failed": 2, "complete": 2}
    assert place.run(2).data.tags["nnstudy.reason"] == "SystemExit: not today"
    traceback = place.directory / "artifacts"
    assert any("ZeroDivisionError" in p.read_text() for p in traceback.rglob("traceback.txt"))


def test_a_study_asked_to_stop_ends_after_the_epoch_and_goes_on_when_launched(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnstudy.search.trial_life._SYNC_SECONDS", 0.0)

    class Stop(Callback):
        def on_validation_end(self, training: Training, record: Record) -> None:
            if record.step == 2:
                requests.stop_study(place.study())

    def stopping(trial: optuna.Trial, data: Data) -> Recipe:
        made = recipe(trial, data)
        if is_real(trial):
            made.callbacks = (Stop(),)
        return made

    first = place.launch(toy(stopping, trials=2, epochs=4))
    assert (first.finished, first.complete) == (0, False)
    assert [step for step, _ in place.curves(0)["loss/valid"]] == [1, 2]

    # Launching takes the request back.
    assert place.launch(toy(trials=2, epochs=4)).endings == {"complete": 2}
    assert [step for step, _ in place.curves(0)["loss/valid"]] == [1, 2, 3, 4]


def test_a_trial_asked_to_stop_counts_with_its_best_and_the_next_one_runs(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnstudy.search.trial_life._SYNC_SECONDS", 0.0)

    class Stop(Callback):
        def on_validation_end(self, training: Training, record: Record) -> None:
            if record.step == 2:
                requests.stop_trial(place.study(), 0)

    def stopping(trial: optuna.Trial, data: Data) -> Recipe:
        made = recipe(trial, data)
        made.callbacks = (Stop(),) if is_real(trial) and trial.number == 0 else ()
        return made

    result = place.launch(toy(stopping, trials=2, epochs=4))

    assert result.endings == {"complete": 2}
    assert [len(place.curves(n)["loss/valid"]) for n in (0, 1)] == [2, 4]
    assert place.run(0).data.tags["nnstudy.reason"] == "stopped on request"
    scores = [value for _, value in place.curves(0)["accuracy/valid"]]
    assert place.trials()[0].value == max(scores)


@pytest.mark.slow
def test_another_launch_waits_for_a_trial_that_somebody_has_and_takes_it_over(
    place: Place,
) -> None:
    place.launch(toy(trials=1))
    study = place.study()
    storage = study._storage._backend  # type: ignore[attr-defined]
    abandoned = study._storage.create_new_trial(study._study_id)
    assert Leases(storage, "elsewhere", seconds=1.5).take(abandoned)

    began = time.monotonic()
    result = place.launch(toy(trials=2), trials=2)

    assert time.monotonic() - began > 1
    assert result.endings == {"complete": 2}
    assert [trial.number for trial in place.trials()] == [0, 1]


STUDY_FILE = """
import os
import signal
from functools import partial
from pathlib import Path

import torch
from torch import nn

from nnstudy import Callback, Recipe, Stage, Study, datasets


class Kill(Callback):
    def on_validation_end(self, training, record):
        marker = Path(__file__).with_name("killed")
        if record.step == 4 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def blobs():
    targets = torch.arange(90) % 3
    inputs = torch.eye(3)[targets] + torch.randn(90, 3, generator=torch.Generator().manual_seed(1))
    return datasets.tensors(inputs, targets, name="blobs")


def recipe(trial, data):
    lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
    return Recipe(
        network=nn.Linear(3, 3),
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9),
        callbacks=[Kill()] if trial.study.study_name == "toy/search" and trial.number == 1 else [],
    )


study = Study("toy", recipe, data=blobs, stages=[Stage(trials=3, epochs=6, sampler="random")])
"""


@pytest.mark.slow
def test_a_killed_workers_trial_continues_at_the_next_epoch_with_its_number(
    place: Place, new_place: Callable[[str], Place]
) -> None:
    (place.directory / "study.py").write_text(STUDY_FILE)
    undisturbed = new_place("undisturbed")
    (undisturbed.directory / "study.py").write_text(STUDY_FILE)
    (undisturbed.directory / "killed").touch()
    undisturbed.launch(str(undisturbed.directory / "study.py"))
    script = dedent("""
        import sys
        from pathlib import Path
        import nnstudy.search.trial_life as life
        from tests.launching import Place
        life._SYNC_SECONDS = 0.0
        place = Place(Path(sys.argv[1]), sys.argv[2])
        place.launch(sys.argv[1] + "/study.py", settings={"lease_seconds": 1.0})
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(place.directory), place.storage],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert [t.state for t in place.trials()] == [TrialState.COMPLETE, TrialState.RUNNING]

    result = place.launch(str(place.directory / "study.py"))

    assert result.endings == {"complete": 3}
    begun = {e.values["trial"]: e.values["epoch"] for e in place.events if e.kind == "trial"}
    assert begun == {1: 3, 2: 0}
    for number in range(3):
        assert place.numbers(number) == undisturbed.numbers(number)
