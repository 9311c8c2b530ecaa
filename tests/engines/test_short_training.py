from __future__ import annotations

import time
from functools import partial
from itertools import count

import pytest
import torch

from nnstudy import OwnLoop, Recipe, Training
from nnstudy.data import Data, load
from nnstudy.engines.short_training import train_shortly
from nnstudy.training import Record
from nnstudy.training.own_loop import OwnTraining
from tests.launching import blobs, network


@pytest.fixture
def data() -> Data:
    return load(blobs())


class Nap:
    def on_step_end(self, training: Training) -> None:
        time.sleep(0.02)


def training(data: Data, *, lr: float = 0.1, nap: bool = False, epochs: float = 5) -> Training:
    torch.manual_seed(0)
    recipe = Recipe(
        network=network(data),
        optimizer=partial(torch.optim.SGD, lr=lr),
        batch_size=8,
        callbacks=[Nap()] if nap else [],
    )
    return Training(recipe, data, epochs=epochs)


def test_best_validation_is_judged_on_other_examples(data: Data) -> None:
    heard: list[Record] = []
    unseen = data.selection
    trained = training(data)
    course = train_shortly(trained, data, unseen, seconds=60, hear=heard.append)
    assert course.ended == "epochs"
    assert course.records == heard
    assert len(heard) == 5
    assert course.best is not None
    assert course.best.values["accuracy/valid"] == max(r.values["accuracy/valid"] for r in heard)
    assert course.judged is not None
    assert course.judged.examples == len(unseen)


def test_without_other_examples_nothing_is_judged(data: Data) -> None:
    course = train_shortly(training(data), data, None, seconds=60, hear=lambda record: None)
    assert course.best is not None
    assert course.judged is None


def test_time_ends_a_training_inside_an_epoch_and_it_is_validated_once(data: Data) -> None:
    started = time.monotonic()
    trained = training(data, nap=True, epochs=1000)  # 12 minibatches an epoch, 0.24 s
    course = train_shortly(trained, data, data.selection, seconds=0.1, hear=lambda record: None)
    assert time.monotonic() - started < 5
    assert course.ended == "time"
    (record,) = course.records
    assert 0 < record.epoch < 1
    assert record.examples_seen == trained.position * 8
    assert 0 <= record.values["accuracy/valid"] <= 1
    assert course.judged is not None


def test_divergence_keeps_what_was_validated_before(data: Data) -> None:
    def epochs() -> object:
        yield {"loss/valid": 0.5, "accuracy/valid": 0.6}
        yield {"loss/valid": float("nan"), "accuracy/valid": 0.3}

    loop = OwnTraining(
        OwnLoop(epochs=epochs()),  # type: ignore[arg-type]
        epochs=9,
        early_stopping=None,
        metric="loss/valid",
        direction="minimize",
    )
    course = train_shortly(loop, data, None, seconds=60, hear=lambda record: None)
    assert course.ended == "diverged"
    assert course.best is course.records[0]


def test_what_diverges_at_once_has_no_best(data: Data) -> None:
    trained = training(data)
    trained.loss = lambda outputs, targets: outputs.sum() * float("nan")
    course = train_shortly(trained, data, data.selection, seconds=60, hear=lambda record: None)
    assert (course.ended, course.records, course.best, course.judged) == (
        "diverged",
        [],
        None,
        None,
    )


def test_time_ends_an_own_loop_between_epochs(data: Data) -> None:
    def epochs() -> object:
        for epoch in count(1):
            time.sleep(0.02)
            yield {"loss/valid": 1 / epoch}

    loop = OwnTraining(
        OwnLoop(epochs=epochs()),  # type: ignore[arg-type]
        epochs=10_000,
        early_stopping=None,
        metric="loss/valid",
        direction="minimize",
    )
    course = train_shortly(loop, data, None, seconds=0.1, hear=lambda record: None)
    assert course.ended == "time"
    assert course.best is course.records[-1]
