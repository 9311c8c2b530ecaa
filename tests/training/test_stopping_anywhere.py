"""A training that is stopped at any minibatch goes on from its file as if nothing had been."""

from __future__ import annotations

import copy
import random
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nnstudy import Callback, EarlyStopping, Recipe, datasets, models, schedules
from nnstudy.data import Data, Split, Subset, load
from nnstudy.diagnostics import UpdateRatioMonitor
from nnstudy.training import Diverged, Record, Training
from nnstudy.training.checkpoints import read, write

torch.set_num_threads(1)
SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)


class Noise(nn.Module):
    """Noise that is there in evaluation too."""

    def forward(self, images: Tensor) -> Tensor:
        return images + 0.1 * torch.randn_like(images)


def drawn(outputs: Tensor, targets: Tensor) -> float:
    return random.random() + float(np.random.rand())


def jitter(images: Tensor) -> Tensor:
    return images + random.random() * torch.randn_like(images)


RECIPES: dict[str, dict[str, Any]] = {
    "batch norm, dropout": {"optimizer": SGD, "dropout": 0.3, "batch_norm": True},
    "average, cosine": {"optimizer": SGD, "average": 0.9, "schedule": schedules.cosine()},
    "restarts": {"schedule": schedules.warmup(schedules.warm_restarts(first=1), epochs=1)},
    "plateau": {"schedule": schedules.plateau(patience=0), "metrics": {"drawn": drawn}},
    "augmented": {"augmentation": jitter, "clip_norm": 1.0, "l1": 0.1, "max_norm": 2.0},
    "adamw": {"optimizer": partial(torch.optim.AdamW, lr=0.01), "weight_decay": 0.1},
    "noisy": {"network": [Noise()], "average": 0.5},
    "l-bfgs": {
        "optimizer": partial(torch.optim.LBFGS, lr=0.5, max_iter=3, history_size=3),
        "l2": 0.1,
        "dropout": 0.2,
    },
}
INTERVALS = [None, 70, 450]  # of 200 examples an epoch


@cache
def digits() -> Data:
    split = Split(validation=1050, selection=0, test=200)
    return load(datasets.digits, split, Subset(examples=200))


def make(name: str, interval: int | None) -> Training:
    data = digits()
    plain = {"optimizer": partial(torch.optim.SGD, lr=0.05), "batch_size": 32}
    fields: dict[str, Any] = plain | RECIPES[name]
    torch.manual_seed(1)
    options = {key: fields.pop(key) for key in ("dropout", "batch_norm") if key in fields}
    network = models.mlp(data.shape, [8], data.outputs, **options)
    fields["network"] = nn.Sequential(*fields.get("network", ()), network)
    return Training(
        Recipe(**fields),
        data,
        epochs=3,
        seed=5,
        early_stopping=EarlyStopping(patience=2),
        validate_every=interval,
        device="cpu",
    )


class Stopped(Exception):
    pass


class StopAfter(Callback):
    """Stops after so many minibatches, those of validations included, and never if None."""

    def __init__(self, minibatches: int | None = None) -> None:
        self.minibatches = minibatches
        self.count = 0

    def on_step_end(self, training: Training) -> None:
        self.count += 1
        if self.count == self.minibatches:
            raise Stopped

    on_validation_batch_end = on_step_end


def run(training: Training, monitor: UpdateRatioMonitor) -> None:
    for record in training:
        record.values |= monitor.values()


def attach_monitor(training: Training) -> UpdateRatioMonitor:
    steps = training.budget.minibatches_between
    return UpdateRatioMonitor(training.network, training.optimizer, steps_per_epoch=steps)


def numbers(records: list[Record]) -> list[tuple[Any, ...]]:
    return [(r.step, r.epoch, r.examples_seen, r.values, r.low_point) for r in records]


@cache
def undisturbed(name: str, interval: int | None) -> tuple[Training, int]:
    training = make(name, interval)
    counter = StopAfter()
    training.callbacks.append(counter)
    run(training, attach_monitor(training))
    return training, counter.count


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(RECIPES)),
    interval=st.sampled_from(INTERVALS),
    stops=st.lists(st.integers(0, 10**6), min_size=1, max_size=2),
)
def test_all_records_are_those_of_an_undisturbed_training(
    tmp_path_factory: pytest.TempPathFactory, name: str, interval: int | None, stops: list[int]
) -> None:
    expected, minibatches = undisturbed(name, interval)
    path = tmp_path_factory.mktemp("trial") / "last.safetensors"
    training = make(name, interval)
    monitor = attach_monitor(training)
    seconds = 0.0
    for stop in stops:
        training.callbacks.append(StopAfter(1 + stop % minibatches))
        try:
            run(training, monitor)
        except Stopped:
            random.random(), np.random.rand(3), torch.rand(5)  # as what cleans up may do
        write(path, {"training": training.state_dict(), "monitor": monitor.state_dict()})
        state, _ = read(path)
        assert state["training"]["seconds"] > seconds
        seconds = state["training"]["seconds"]
        training = make(name, interval)
        training.load_state_dict(state["training"])
        monitor = attach_monitor(training)
        monitor.load_state_dict(state["monitor"])
        torch.rand(7)  # as a consumer may before it goes on
    run(training, monitor)

    assert numbers(training.history) == numbers(expected.history)
    assert training.ended == expected.ended
    weights = expected.network.state_dict()
    assert all(torch.equal(w, weights[n]) for n, w in training.network.state_dict().items())


@pytest.mark.parametrize("name", ["l-bfgs", "plateau"])
def test_the_stopped_training_itself_can_go_on(name: str) -> None:
    expected, minibatches = undisturbed(name, 70)
    training = make(name, 70)
    monitor = attach_monitor(training)
    training.callbacks.append(StopAfter(minibatches // 2))
    with pytest.raises(Stopped):
        run(training, monitor)
    torch.rand(3)

    run(training, monitor)

    assert numbers(training.history) == numbers(expected.history)


def test_what_a_callback_raises_at_a_record_repeats_the_validation() -> None:
    class Refuse(Callback):
        def on_validation_end(self, training: Training, record: Record) -> None:
            if record.step == 2:
                raise Stopped

    expected, _ = undisturbed("plateau", None)
    training = make("plateau", None)
    monitor = attach_monitor(training)
    training.callbacks.append(Refuse())
    with pytest.raises(Stopped):
        run(training, monitor)
    training.callbacks.clear()

    run(training, monitor)

    assert numbers(training.history) == numbers(expected.history)


def test_a_state_copied_while_validation_goes_on_can_be_trained_on() -> None:
    expected, _ = undisturbed("adamw", None)
    states: list[dict[str, Any]] = []

    class Copy(Callback):
        def on_validation_batch_end(self, training: Training) -> None:
            if len(training.history) == 1:
                states.append(copy.deepcopy(training.state_dict()))

    training = make("adamw", None)
    training.callbacks.append(Copy())
    list(training)

    assert len(states) == 2, "a validation of 1050 examples has two minibatches"
    curves = [record.values["loss/valid"] for record in expected.history]
    for state in states:
        continued = make("adamw", None)
        continued.load_state_dict(state)
        assert continued.position == 14
        assert [record.values["loss/valid"] for record in continued] == curves[1:]


def test_a_divergence_is_told_of_its_epoch_also_after_a_restart() -> None:
    training = make("adamw", 450)  # no validation after the first epoch
    for parameter in training.network.parameters():
        nn.init.constant_(parameter, float("inf"))
    training.callbacks.append(StopAfter(7))
    with pytest.raises(Stopped):
        list(training)
    continued = make("adamw", 450)
    continued.load_state_dict(training.state_dict())

    with pytest.raises(Diverged) as caught:
        list(continued)

    assert (caught.value.epoch, caught.value.where) == (1, "training")


def test_attached_callbacks_come_after_those_of_the_recipe() -> None:
    calls: list[str] = []

    class Named(Callback):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_step_end(self, training: Training) -> None:
            calls.append(self.name)

    training = make("adamw", None)
    recipe = training.recipe
    recipe.callbacks = (Named("recipe"),)
    training = Training(recipe, digits(), epochs=0.01, device="cpu")
    training.callbacks.append(Named("attached"))
    list(training)

    assert calls == ["recipe", "attached"]
    assert len(recipe.callbacks) == 1
