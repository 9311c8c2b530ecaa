"""Between two validations: leaving at a minibatch, checkpoints inside an epoch."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch

from nnstudy import Recipe
from nnstudy.data import load
from nnstudy.search.interruption import Interrupted, Interruption
from nnstudy.search.leaving import BetweenValidations
from nnstudy.training import Callback, Record, Training
from tests.launching import Place, blobs, network

ROOT = Path(__file__).resolve().parents[2]
MINIBATCHES = 6  # of 90 examples, 16 each


def make_training(*callbacks: Callback) -> Training:
    data = load(blobs)
    torch.manual_seed(1)
    recipe = Recipe(
        network=network(data, dropout=0.4),
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        batch_size=16,
    )
    training = Training(recipe, data, epochs=3, seed=5, early_stopping=None, device="cpu")
    training.callbacks += callbacks
    return training


def numbers(records: list[Record]) -> list[dict[str, float]]:
    return [record.values for record in records]


def draw_everywhere() -> None:
    random.random()
    np.random.rand()
    torch.rand(3)


def test_checkpoints_inside_an_epoch_change_no_number_whatever_they_draw() -> None:
    saved: list[int] = []

    def save() -> None:
        saved.append(training.position)
        draw_everywhere()

    undisturbed = list(make_training())
    training = make_training(BetweenValidations(Interruption(), 0.0, save))
    assert numbers(list(training)) == numbers(undisturbed)
    assert saved == list(range(1, 3 * MINIBATCHES + 1))


def test_a_checkpoint_is_due_so_long_after_the_last_one_whoever_wrote_it() -> None:
    saved: list[int] = []
    between = BetweenValidations(Interruption(), 0.2, lambda: saved.append(training.position))

    class Nap(Callback):
        def on_step_end(self, training: Training) -> None:
            if training.position in (4, 9):
                time.sleep(0.2)
            if training.position == 9:
                between.saved()

    training = make_training(Nap(), between)
    began = time.monotonic()
    list(training)
    assert saved[:1] == [4]
    assert 9 not in saved
    assert len(saved) <= 1 + (time.monotonic() - began) / 0.2


@pytest.mark.parametrize("leave_at", [1, 5, MINIBATCHES, MINIBATCHES + 3, 3 * MINIBATCHES])
def test_a_training_left_at_a_minibatch_goes_on_from_its_state_exactly(leave_at: int) -> None:
    interruption = Interruption()

    class LeaveAt(Callback):
        def on_step_end(self, training: Training) -> None:
            if training.position == leave_at:
                interruption.hand_back()

    undisturbed = list(make_training())
    between = BetweenValidations(interruption, math.inf, lambda: None)
    training = make_training(LeaveAt(), between)
    with pytest.raises(Interrupted):
        list(training)
    assert training.position == leave_at
    state = training.state_dict()

    draw_everywhere()
    heir = make_training()
    heir.load_state_dict(state)
    list(heir)
    assert numbers(heir.history) == numbers(undisturbed)


def test_a_validation_that_is_left_is_repeated() -> None:
    interruption = Interruption()

    class LeaveInValidation(Callback):
        def on_validation_batch_end(self, training: Training) -> None:
            if len(training.history) == 1:
                interruption.hand_back()

    undisturbed = list(make_training())
    between = BetweenValidations(interruption, math.inf, lambda: None)
    training = make_training(LeaveInValidation(), between)
    with pytest.raises(Interrupted):
        list(training)
    assert (training.position, len(training.history)) == (2 * MINIBATCHES, 1)
    heir = make_training()
    heir.load_state_dict(training.state_dict())
    list(heir)
    assert numbers(heir.history) == numbers(undisturbed)


def test_a_request_to_end_after_the_epoch_lets_the_minibatches_pass() -> None:
    interruption = Interruption()
    interruption.request()
    between = BetweenValidations(interruption, math.inf, lambda: None)
    assert len(list(make_training(between))) == 3


STUDY_FILE = """
import os
import signal
from functools import partial
from pathlib import Path

import torch

from nnstudy import Callback, Recipe, Stage, Study
from tests.launching import blobs, network

HERE = Path(__file__).parent


class Diary(Callback):
    def on_step_end(self, training):
        with open(HERE / "diary", "a") as diary:
            print(training.position, file=diary)
        if training.position == 10 and not (HERE / "killed").exists():
            (HERE / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)


def recipe(trial, data):
    return Recipe(
        network=network(data, dropout=0.3),
        optimizer=partial(torch.optim.SGD, lr=trial.suggest_float("lr", 0.01, 0.1), momentum=0.9),
        batch_size=16,
        average=0.9,
        callbacks=[Diary()] if trial.study.study_name == "toy/search" else [],
    )


study = Study("toy", recipe, data=blobs, stages=[Stage(trials=1, epochs=3, pruner="none")])
"""


@pytest.mark.slow
def test_a_worker_killed_inside_an_epoch_costs_what_came_after_the_last_checkpoint(
    place: Place, new_place: Callable[[str], Place]
) -> None:
    undisturbed = new_place("undisturbed")
    for here in (place, undisturbed):
        (here.directory / "study.py").write_text(STUDY_FILE)
    (undisturbed.directory / "killed").touch()
    undisturbed.launch(str(undisturbed.directory / "study.py"))
    script = dedent("""
        import sys
        from pathlib import Path
        from tests.launching import Place
        place = Place(Path(sys.argv[1]), sys.argv[2])
        settings = {"lease_seconds": 1.0, "checkpoint_every": 1e-6}
        place.launch(sys.argv[1] + "/study.py", settings=settings)
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(place.directory), place.storage],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL

    assert place.launch(str(place.directory / "study.py")).complete

    positions = (place.directory / "diary").read_text().split()
    # The tenth minibatch was trained, and its worker killed before it was kept.
    assert [int(position) for position in positions] == [*range(1, 11), *range(10, 19)]
    assert place.numbers(0) == undisturbed.numbers(0)
    assert place.trials()[0].value == undisturbed.trials()[0].value
