"""A small study whose trials take their time, keep a diary, and may do something bad.

All of that is asked for by the environment of the launch (``tests/faults/harness.py``), and
none of it changes a number: the same trial trained without it must come out the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nnstudy import Callback, Recipe, Stage, Study
from tests.launching import blobs

_DIARY = os.environ.get("FAULTS_DIARY")
_EPOCH_SECONDS = float(os.environ.get("FAULTS_EPOCH_SECONDS", "0"))
_STEP_SECONDS = float(os.environ.get("FAULTS_STEP_SECONDS", "0"))
_DEED = os.environ.get("FAULTS_DEED", "")

_DOER = 1
"""The number of the trial that does the deed."""


class Diary(Callback):
    """Writes down every minibatch and every validation, and takes a nap after each."""

    def __init__(self, trial: Any) -> None:
        self.trial = trial

    def on_step_end(self, training: Any) -> None:
        if _STEP_SECONDS:
            self._write("step", training.position)
            time.sleep(_STEP_SECONDS)
        if _DEED and self.trial.number == _DOER:
            _DEEDS[_DEED](training)

    def on_validation_end(self, training: Any, record: Any) -> None:
        self._write("validation", record.step)
        time.sleep(_EPOCH_SECONDS)

    def _write(self, what: str, number: int) -> None:
        if _DIARY is None:
            return
        entry = {"what": what, "trial": self.trial.number, "number": number}
        line = json.dumps({**entry, "process": os.getpid(), "time": time.time()}) + "\n"
        # One write of an appended line is whole, however many processes write.
        with open(_DIARY, "ab", buffering=0) as diary:
            diary.write(line.encode())


def recipe(trial: Any, data: Any) -> Recipe:
    units = trial.suggest_int("units", 2, 16)
    dropout = trial.suggest_float("dropout", 0.0, 0.3)
    lr = trial.suggest_float("lr", 1e-3, 0.3, log=True)
    return Recipe(
        network=nn.Sequential(
            nn.Linear(4, units), nn.Tanh(), nn.Dropout(dropout), nn.Linear(units, data.outputs)
        ),
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9),
        schedule=lambda optimizer, steps: torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, steps
        ),
        batch_size=trial.suggest_categorical("batch_size", [16, 32]),
        average=0.98,
        callbacks=[Diary(trial)],
    )


def _hang_once(training: Any) -> None:
    if training.position == 10 and _is_first_time("hang"):
        time.sleep(3600)


def _compute_for_long_once(training: Any) -> None:
    if training.position == 10 and _is_first_time("hang"):
        # One operation, inside of which Python hears no signal.
        matrix = torch.rand(10_000, 10_000)
        matrix @ matrix


def _die_in_the_first_epoch(training: Any) -> None:
    if training.position == 3:
        os.kill(os.getpid(), signal.SIGKILL)


def _die_after_each_epoch(training: Any) -> None:
    epoch, minibatch = divmod(training.position, training.budget.steps.per_epoch)
    if minibatch == 1 and epoch > 0 and _is_first_time(f"death-{epoch}"):
        os.kill(os.getpid(), signal.SIGKILL)


def _is_first_time(name: str) -> bool:
    assert _DIARY is not None
    with contextlib.suppress(FileExistsError):
        Path(_DIARY).with_name(name).touch(exist_ok=False)
        return True
    return False


_DEEDS = {
    "hang once": _hang_once,
    "compute for long once": _compute_for_long_once,
    "die in the first epoch": _die_in_the_first_epoch,
    "die after each epoch": _die_after_each_epoch,
}

study = Study(
    "toy",
    recipe,
    data=blobs,
    metric="loss/valid",
    stages=[Stage(trials=40, epochs=20, sampler="tpe", pruner="median")],
    early_stopping=None,
)
