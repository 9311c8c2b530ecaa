"""A worker process whose launcher is no more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
from optuna.trial import TrialState

from tests.launching import Place

ROOT = Path(__file__).resolve().parents[2]

STUDY_FILE = """
import time
from functools import partial

import torch
from torch import nn

from nnstudy import Callback, Recipe, Stage, Study
from tests.launching import blobs


class Slow(Callback):
    def on_epoch_begin(self, training):
        time.sleep(0.3)


def recipe(trial, data):
    return Recipe(
        network=nn.Linear(4, 3),
        optimizer=partial(torch.optim.SGD, lr=trial.suggest_float("lr", 0.01, 0.1)),
        callbacks=[Slow()] if trial.study.study_name == "toy/search" else [],
    )


study = Study(
    "toy", recipe, data=blobs, stages=[Stage(trials=2, epochs=8, pruner="none")],
    early_stopping=None,
)
"""


@pytest.mark.slow
def test_trials_of_workers_whose_launcher_was_killed_are_kept_and_go_on_later(
    place: Place,
) -> None:
    study = place.directory / "study.py"
    study.write_text(STUDY_FILE)
    script = dedent(f"""
        from pathlib import Path
        from tests.launching import Place

        place = Place(Path({str(place.directory)!r}), {place.storage!r})
        place.launch({str(study)!r}, workers=2, hear=lambda event: print(event.kind, flush=True))
    """)
    launcher = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert launcher.stdout is not None
    for line in launcher.stdout:
        if line.strip() == "trial":
            break
    launcher.send_signal(signal.SIGKILL)
    launcher.communicate()

    _wait_until(lambda: not _workers(place))
    assert {trial.state for trial in place.trials()} == {TrialState.RUNNING}

    assert place.launch(str(study)).endings == {"complete": 2}
    for number in range(2):
        assert [step for step, _ in place.curves(number)["loss/valid"]] == list(range(1, 9))


def _workers(place: Place) -> list[str]:
    """The processes that ever held a lease and are still there."""
    from nnstudy.search.leases import Leases
    from nnstudy.search.storage import open_storage

    leases = Leases(open_storage(place.storage), "onlooker").all().values()
    numbers = {lease.owner.rpartition(":")[2] for lease in leases}
    return [number for number in numbers if Path(f"/proc/{number}").exists()]


def _wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
