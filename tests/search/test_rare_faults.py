"""Faults at bad moments: of a trial's state, its files, its worker, its recipe."""

from __future__ import annotations

import errno
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState
from torch import Tensor, nn

from nnstudy import OwnLoop, Recipe
from nnstudy.data import Data
from nnstudy.search.interruption import Interruption
from nnstudy.search.last_word import LastWord
from nnstudy.search.leases import Leases
from nnstudy.search.storage import open_storage
from nnstudy.training.checkpoints import read, read_weights
from tests.launching import InterruptAt, Place, network, toy


def recipe(trial: optuna.Trial, data: Data) -> Recipe:
    lr = trial.suggest_float("lr", 0.01, 0.1)
    return Recipe(network=network(data), optimizer=partial(torch.optim.SGD, lr=lr), batch_size=32)


class Broken(nn.Module):
    """Fails in its second epoch, and cannot be read any more, as after an assertion on CUDA."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.steps = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.steps += self.training
        if self.steps > 5:
            raise RuntimeError("device-side assert triggered")
        outputs: Tensor = self.linear(inputs)
        return outputs

    def get_extra_state(self) -> None:
        if self.steps > 5:
            raise RuntimeError("device-side assert triggered")

    def set_extra_state(self, state: Any) -> None:
        pass


def test_a_trial_whose_state_cannot_be_read_after_its_failure_is_failed(place: Place) -> None:
    def breaking(trial: optuna.Trial, data: Data) -> Recipe:
        trial.suggest_float("lr", 0.01, 0.1)
        broken = trial.number == 0
        return Recipe(
            network=Broken() if broken else network(data),
            optimizer=partial(torch.optim.SGD, lr=0.1),
            batch_size=32,
        )

    result = place.launch(toy(breaking, trials=2))
    assert result.endings == {"failed": 1, "complete": 1}
    assert "device-side assert" in place.trials()[0].user_attrs["nnstudy"]["reason"]


def test_a_file_that_a_recipe_does_not_find_is_the_trials_failure_and_not_waited_for(
    place: Place,
) -> None:
    asked = []

    def missing(trial: optuna.Trial, data: Data) -> Recipe:
        made = recipe(trial, data)
        if trial.study.study_name == "toy/search" and trial.number == 0:
            asked.append(trial.number)
            read_weights(Path("nowhere.safetensors"))
        return made

    result = place.launch(toy(missing, trials=2), settings={"patience": 20})
    assert asked == [0]
    assert result.endings == {"failed": 1, "complete": 1}


def test_a_checkpoint_that_cannot_be_read_for_a_moment_is_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch, every_epoch_is_told: None
) -> None:
    at_second = InterruptAt(trial=0, epoch=2)
    place.launch(
        toy(recipe, trials=1, epochs=4), hear=at_second, interruption=at_second.interruption
    )
    stale = iter([True, True])

    def reluctant(path: Path) -> Any:
        if next(stale, False):
            from nnstudy.training.checkpoints import CheckpointError

            raise CheckpointError("cannot be read") from OSError(errno.ESTALE, "stale")
        return read(path)

    monkeypatch.setattr("nnstudy.search.trial_life.read", reluctant)
    place.launch(toy(recipe, trials=1, epochs=4), settings={"patience": 20})
    assert not any("starts again" in text for text in place.texts("message"))
    assert [step for step, _ in place.curves(0)["loss/valid"]] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_checkpoint_that_takes_longer_than_a_lease_to_be_read_costs_no_trial(
    place: Place, monkeypatch: pytest.MonkeyPatch, every_epoch_is_told: None
) -> None:
    at_first = InterruptAt(trial=0, epoch=1)
    place.launch(toy(recipe, trials=1), hear=at_first, interruption=at_first.interruption)
    leases = Leases(open_storage(place.storage), "another")
    taken = []

    def slow(path: Path) -> Any:
        deadline = time.monotonic() + 10  # two leases, each long beside a machine's hiccups
        while time.monotonic() < deadline:
            taken.append(leases.take(place.trials()[0]._trial_id))
            time.sleep(0.1)
        return read(path)

    monkeypatch.setattr("nnstudy.search.trial_life.read", slow)
    result = place.launch(toy(recipe, trials=1), settings={"lease_seconds": 5})
    assert result.endings == {"complete": 1}
    assert taken
    assert not any(taken)


def test_a_worker_that_is_late_with_its_last_word_leaves_the_new_owners_files_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = LastWord._tell_optuna

    def late(last_word: LastWord, *arguments: Any) -> None:
        # Another worker takes the trial over after the lease was looked at last.
        own = last_word.keeper.directory
        own.rename(own.with_name(f"{own.name}.2"))
        tell(last_word, *arguments)

    monkeypatch.setattr(LastWord, "_tell_optuna", late)
    place.launch(toy(recipe, trials=1))
    assert [trial.state for trial in place.trials()] == [TrialState.COMPLETE]
    assert [path.parent.name for path in place.checkpoints.rglob("best-*")] == ["trial-00000.2"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_ending_a_forked_helper_of_a_recipe_does_not_end_its_worker(place: Place) -> None:
    def epochs() -> Iterator[dict[str, float]]:
        for _ in range(2):
            helper = multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,))
            helper.start()
            time.sleep(0.2)
            helper.terminate()
            helper.join(5)
            assert helper.exitcode == -signal.SIGTERM
            time.sleep(0.5)
            yield {"loss/valid": 1.0, "accuracy/valid": 0.5}

    def helped(trial: optuna.Trial, data: Data) -> OwnLoop:
        trial.suggest_float("lr", 0, 1)
        return OwnLoop(epochs=epochs())

    interruption = Interruption()
    with interruption.on_signals():
        result = place.launch(toy(helped, trials=1, epochs=2), interruption=interruption)
    assert result.endings == {"complete": 1}
    assert not interruption.requested
