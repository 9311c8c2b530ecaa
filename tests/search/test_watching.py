"""What is watched in every trial: curves, and a few pictures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from PIL import Image
from torch import nn

from nnstudy import Callback, OwnLoop, Recipe, datasets, models
from nnstudy.data import Data, Source, Split, Subset, load
from nnstudy.search.reporting import is_reported
from nnstudy.search.watching import Watch
from nnstudy.tracking import Tracker
from nnstudy.training import Record, Training
from nnstudy.training.checkpoints import read, write
from nnstudy.training.own_loop import OwnTraining
from tests.launching import MEASURED, Place, toy

Shown = list[tuple[str, tuple[int, ...], int]]


def digits() -> Data:
    return load(datasets.digits, Split(validation=600, selection=0, test=200), Subset(examples=300))


def make(epochs: float = 3, batch_size: int = 32, **fields: Any) -> Training:
    data = digits()
    torch.manual_seed(1)
    network = models.mlp(data.shape, [12], data.outputs, dropout=0.2)
    optimizer = partial(torch.optim.Adam, lr=0.01)
    recipe = Recipe(network=network, optimizer=optimizer, batch_size=batch_size, **fields)
    return Training(recipe, data, epochs=epochs, seed=3, device="cpu")


def watch(training: Training, shown: Shown | None = None) -> Watch:
    def show(name: str, image: np.ndarray[Any, Any], step: int) -> None:
        if shown is not None:
            shown.append((name, image.shape, step))

    return Watch(training, (1, 8, 8), show)


def run(training: Training, watching: Watch | None = None) -> list[Record]:
    for record in training:
        if watching:
            watching.observe(record)
    return training.history


def repeatable(record: Record) -> dict[str, float]:
    return {k: v for k, v in record.values.items() if k.split("/")[0] not in MEASURED}


def test_a_training_that_is_watched_has_the_same_numbers() -> None:
    bare, watched = make(average=0.9), make(average=0.9)
    run(bare)
    run(watched, watch(watched))
    for one, other in zip(bare.history, watched.history, strict=True):
        assert one.values.items() <= other.values.items()
        assert len(other.values) > len(one.values)
    weights = watched.network.state_dict()
    assert all(torch.equal(w, weights[n]) for n, w in bare.network.state_dict().items())


@pytest.mark.parametrize("minibatches", [1, 9, 11, 12, 14])
def test_a_training_that_is_continued_has_the_same_curves(minibatches: int, tmp_path: Path) -> None:
    class Stop(Callback):
        count = 0

        def on_step_end(self, training: Training) -> None:
            self.count += 1
            if self.count == minibatches:
                raise InterruptedError

        on_validation_batch_end = on_step_end

    expected = make()
    run(expected, watch(expected))
    stopped = make()
    stopped.callbacks.append(Stop())
    watching = watch(stopped)
    with pytest.raises(InterruptedError):
        run(stopped, watching)
    write(tmp_path / "last", {"training": stopped.state_dict(), "watch": watching.state_dict()})
    state, _ = read(tmp_path / "last")
    continued = make()
    continued.load_state_dict(state["training"])
    watching = watch(continued)
    watching.load_state_dict(state["watch"])
    run(continued, watching)

    for one, other in zip(expected.history, continued.history, strict=True):
        assert repeatable(one) == repeatable(other)
        assert one.values.keys() == other.values.keys()


def test_curves_are_those_of_the_validation_and_of_the_epoch() -> None:
    training = make(epochs=1)
    with torch.no_grad():
        training.network.hidden1.weight[:3] = 0.0
        training.network.hidden1.bias[:3] = -10.0
    (record,) = run(training, watch(training))
    values = record.values
    assert values["dead/relu1"] >= 0.25
    inputs, _ = next(iter(digits().validation.minibatches(600)))
    with torch.no_grad():
        hidden = training.network.eval()[:3](inputs)
    assert values["dead/relu1"] == pytest.approx(float((hidden <= 0).all(0).float().mean()))
    assert values["activation_mean/relu1"] == pytest.approx(float(hidden[:100].mean()), rel=1e-5)
    assert values["gap/accuracy"] == values["accuracy/train"] - values["accuracy/valid"]
    assert values["speed/examples_per_second"] == pytest.approx(300 / record.seconds)
    assert 50 < values["memory/resident_mb"] < 100_000
    assert 0 < values["wiggle/loss"] < 2
    assert "saturated/relu1" not in values


def test_wiggle_is_that_of_the_minibatches_losses() -> None:
    losses: list[float] = []

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        value = nn.functional.cross_entropy(outputs, targets)
        if torch.is_grad_enabled():
            losses.append(value.item())
        return value

    training = make(epochs=1, loss=loss)
    (record,) = run(training)
    jumps = [abs(b - a) for a, b in itertools.pairwise(losses)]
    expected = math.sqrt(math.pi) / 2 * np.mean(jumps) / np.mean(losses)
    assert record.values["wiggle/loss"] == pytest.approx(expected)


@pytest.mark.parametrize("batch_size", [100, 3])
def test_curves_thin_out_after_short_epochs_alone(batch_size: int) -> None:
    training = make(epochs=14, batch_size=batch_size)
    run(training, watch(training))
    told = [r.step for r in training.history if "update_ratio/hidden1.weight" in r.values]
    assert told == [r.step for r in training.history if "dead/relu1" in r.values]
    short = [step for step in range(1, 15) if is_reported(step, 14)]
    assert told == (short if batch_size == 100 else list(range(1, 15)))
    assert len(short) < 14
    assert all("wiggle/loss" in r.values for r in training.history)


def test_pictures_cost_a_small_share_of_a_short_training_but_for_the_last() -> None:
    shown: Shown = []
    training = make(epochs=2)
    run(training, watch(training, shown))
    assert [(name, step) for name, _, step in shown] == [("first layer", 2), ("distributions", 2)]
    assert shown[0][1] == (2 * 42 + 16, 8 * 42, 3)


def test_pictures_of_a_long_training_come_ever_more_rarely() -> None:
    shown: Shown = []
    training = make(epochs=20)
    watching = watch(training, shown)
    for record in training:
        record.seconds *= 10_000
        watching.observe(record)
    assert [step for name, _, step in shown if name == "first layer"] == [1, 2, 4, 8, 16, 20]


def test_an_own_loop_is_watched_as_far_as_it_can_be_seen() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU())

    class Loop:
        def __iter__(self) -> Iterator[dict[str, float]]:
            for epoch in range(2):
                network.eval()(torch.randn(10, 1, 8, 8))
                yield {
                    "loss/valid": 1.0 - epoch,
                    "accuracy/train": 0.75,
                    "accuracy/valid": 0.5,
                    "dead/2": 0.125,  # its own measure of that
                }

    shown: Shown = []
    training = OwnTraining(
        OwnLoop(epochs=Loop(), network=network),
        epochs=2,
        early_stopping=None,
        metric="loss/valid",
        direction="minimize",
    )
    watching = Watch(training, (1, 8, 8), lambda name, image, step: shown.append((name, (), step)))
    for record in training:
        watching.observe(record)
        assert record.values["gap/accuracy"] == 0.25
        assert record.values["dead/2"] == 0.125
        assert {"activation_mean/1", "activation_std/2"} <= record.values.keys()
        assert not any(name.startswith(("update_ratio", "speed")) for name in record.values)
    assert [name for name, _, _ in shown] == ["first layer", "distributions"]


def images(examples: int = 120) -> Source:
    inputs = torch.rand(examples, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return datasets.tensors(inputs, torch.arange(examples) % 3, name="noise")


def test_pictures_are_in_the_image_grid_of_the_run(place: Place) -> None:
    def recipe(trial: optuna.Trial, data: Data) -> Recipe:
        lr = trial.suggest_float("lr", 0.01, 0.1)
        network = models.mlp(data.shape, [9], data.outputs)
        return Recipe(network=network, optimizer=partial(torch.optim.SGD, lr=lr), batch_size=32)

    study = toy(recipe, trials=1, epochs=2)
    study.data = images
    place.launch(study)

    run = place.run(0)
    assert run.data.tags["mlflow.loggedImages"] == "True"
    client = Tracker(place.tracking_uri).client
    files = [entry.path for entry in client.list_artifacts(run.info.run_id, "images")]
    series = sorted(path.split("+timestamp+")[0] for path in files if path.endswith(".png"))
    assert series == ["images/distributions+step+2", "images/first layer+step+2"]
    (first_layer,) = (path for path in files if "first layer" in path and path.endswith(".png"))
    with Image.open(client.download_artifacts(run.info.run_id, first_layer)) as picture:
        assert picture.size == (8 * 42, 2 * 42 + 16)
        assert len(np.unique(np.asarray(picture)[:40, :40].reshape(-1, 3), axis=0)) > 30
