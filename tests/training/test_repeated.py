"""Several trainings that count as one: their means, and that they can be stopped anywhere."""

from __future__ import annotations

import statistics
from functools import cache, partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudy import EarlyStopping, OwnLoop, Recipe, models
from nnstudy.data import Data, Folds, load
from nnstudy.errors import UserError
from nnstudy.training import Diverged, Record, RepeatedTraining, Training
from nnstudy.training.checkpoints import read, write
from nnstudy.training.own_loop import OwnTraining
from nnstudy.training.repeated import curves_in
from tests.launching import blobs
from tests.training.test_stopping_anywhere import StopAfter, Stopped

FOLDS = 3


@cache
def folds() -> Folds:
    return Folds(load(blobs), FOLDS)


def one(number: int, data: Data | None = None) -> Training:
    data = data or folds()[number]
    torch.manual_seed(number)
    return Training(
        Recipe(
            network=models.mlp(data.shape, [6], data.outputs, dropout=0.2),
            optimizer=partial(torch.optim.Adam, lr=0.05),
            batch_size=16,
        ),
        data,
        epochs=4,
        seed=(1, number),
        early_stopping=EarlyStopping(patience=2),
        device="cpu",
    )


def make(counter: StopAfter | None = None) -> RepeatedTraining:
    repeated = RepeatedTraining(one, FOLDS, metric="accuracy/valid", direction="maximize")
    if counter:
        repeated.on_begin = lambda training: training.callbacks.append(counter)  # type: ignore[union-attr]
    return repeated


def numbers(records: list[Record]) -> list[tuple[Any, ...]]:
    return [(r.step, r.epoch, r.examples_seen, r.values) for r in records]


def test_a_record_is_the_mean_of_what_each_training_was_at_its_best() -> None:
    repeated = make()
    records = list(repeated)

    alone = [list(one(number)) for number in range(FOLDS)]
    assert [numbers(h) for h in repeated.finished] == [numbers(h) for h in alone]
    best = [max(h, key=lambda r: r.values["accuracy/valid"]) for h in alone]
    scores = [record.values["accuracy/valid"] for record in best]
    assert len(set(scores)) > 1
    for step, record in enumerate(records, 1):
        assert record.step == step
        assert record.values["accuracy/valid"] == pytest.approx(statistics.mean(scores[:step]))
        assert record.values["accuracy/valid_single"] == scores[step - 1]
        losses = [b.values["loss/valid"] for b in best[:step]]
        assert record.values["loss/valid"] == pytest.approx(statistics.mean(losses))
        assert record.epoch == sum(h[-1].epoch for h in alone[:step])
        assert record.examples_seen == sum(h[-1].examples_seen for h in alone[:step])
    assert "accuracy/valid_std" not in records[0].values
    assert records[2].values["accuracy/valid_std"] == pytest.approx(statistics.stdev(scores))
    assert (repeated.ended, repeated.epochs) == ("repeats", records[-1].epoch)


def test_what_is_added_to_the_records_of_a_training_is_not_averaged() -> None:
    repeated = make()
    repeated.on_record = lambda record: record.values.update({"update_ratio/0.weight": 0.1})
    assert "update_ratio/0.weight" not in next(iter(repeated)).values
    assert "update_ratio/0.weight" not in repeated.names


@cache
def undisturbed() -> tuple[RepeatedTraining, int]:
    counter = StopAfter()
    repeated = make(counter)
    list(repeated)
    return repeated, counter.count


@settings(max_examples=12, deadline=None)
@given(stops=st.lists(st.integers(0, 10**6), min_size=1, max_size=2))
def test_all_records_are_those_of_an_undisturbed_one(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int]
) -> None:
    expected, minibatches = undisturbed()
    path = tmp_path_factory.mktemp("trial") / "last.safetensors"
    repeated = make()
    for stop in stops:
        counter = StopAfter(1 + stop % minibatches)
        repeated.on_begin = lambda training, c=counter: training.callbacks.append(c)  # type: ignore[misc, union-attr]
        try:
            list(repeated)
        except Stopped:
            torch.rand(5)
        write(path, repeated.state_dict())
        state, _ = read(path)
        repeated = make()
        repeated.load_state_dict(state)
        torch.rand(7)
    list(repeated)

    assert numbers(repeated.history) == numbers(expected.history)
    assert [numbers(h) for h in repeated.finished] == [numbers(h) for h in expected.finished]
    assert repeated.ended == "repeats"
    last = expected.running.network
    assert last is not None
    assert repeated.running.network is not None
    weights = last.state_dict()
    kept = repeated.running.network.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in kept.items())


def test_what_hears_the_records_may_stop_after_any_and_again_after_the_last() -> None:
    expected, _ = undisturbed()
    repeated = make()
    heard = 0

    def stop(record: Record) -> None:
        nonlocal heard
        heard += 1
        raise Stopped

    repeated.on_record = stop
    while repeated.ended is None:
        try:
            list(repeated)
        except Stopped:
            state = repeated.state_dict()
            names, histories = curves_in(state)
            assert sum(map(len, histories)) == heard
            assert names >= {"loss/valid", "accuracy/train"}
            assert repeated.epochs == sum(h[-1].epoch for h in histories)
            again = make()
            again.load_state_dict(state)
            again.on_record = stop
            repeated = again
    assert numbers(repeated.history) == numbers(expected.history)


def own(number: int, values: list[list[float]]) -> OwnTraining:
    return OwnTraining(
        OwnLoop(epochs=({"loss/valid": value} for value in values[number])),
        epochs=5,
        early_stopping=None,
        metric="loss/valid",
        direction="minimize",
    )


def of_own(*values: list[float]) -> RepeatedTraining:
    return RepeatedTraining(
        lambda number: own(number, list(values)),
        len(values),
        metric="loss/valid",
        direction="minimize",
    )


def test_loops_of_the_users_own_are_repeated_too() -> None:
    repeated = of_own([3.0, 1.0, 2.0], [5.0])
    assert [r.values["loss/valid"] for r in repeated] == [1.0, 3.0]
    assert not repeated.continuable


def test_one_that_diverges_ends_all() -> None:
    repeated = of_own([3.0, 1.0], [2.0, float("nan")], [1.0])
    with pytest.raises(Diverged, match="epoch 2"):
        list(repeated)
    assert [r.values["loss/valid"] for r in repeated.history] == [1.0]
    assert repeated.epochs == 3


def test_one_that_yields_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="yielded no epoch"):
        list(of_own([3.0], []))
