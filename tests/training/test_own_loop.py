"""Training loops of the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nnstudy import EarlyStopping, OwnLoop
from nnstudy.errors import UserError
from nnstudy.training import Diverged
from nnstudy.training.own_loop import OwnTraining


class Counting:
    """A loop with a state: yields 1/1, 1/2, 1/3, ..."""

    def __init__(self) -> None:
        self.epoch = 0

    def __iter__(self) -> Iterator[dict[str, float]]:
        while True:
            self.epoch += 1
            yield {"loss/valid": 1 / self.epoch}

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]


def training(loop: Any, epochs: float = 5, patience: int | None = None) -> OwnTraining:
    return OwnTraining(
        OwnLoop(epochs=loop),
        epochs=epochs,
        early_stopping=EarlyStopping(patience=patience) if patience else None,
        metric="loss/valid",
        direction="minimize",
    )


def test_a_loop_that_never_ends_is_ended_after_its_epochs() -> None:
    taken = training(Counting())

    records = list(taken)

    assert [(r.step, r.values["loss/valid"]) for r in records] == [(i, 1 / i) for i in range(1, 6)]
    assert taken.ended == "epochs"


def test_a_loop_with_a_state_is_continued_where_it_was() -> None:
    first = training(Counting())
    iterator = iter(first)
    next(iterator), next(iterator)

    second = training(Counting())
    assert second.continuable
    second.load_state_dict(first.state_dict())
    rest = list(second)

    assert [r.step for r in rest] == [3, 4, 5]
    assert rest[-1].values["loss/valid"] == 1 / 5


def test_a_generator_cannot_be_continued() -> None:
    assert not training({"loss/valid": 1.0} for _ in range(3)).continuable


def test_a_loop_is_stopped_early() -> None:
    taken = training(({"loss/valid": 1.0} for _ in range(100)), epochs=100, patience=3)

    assert len(list(taken)) == 4
    assert taken.ended == "early stopping"


def test_examples_seen_and_epoch_are_taken_from_the_loop() -> None:
    record = next(iter(training([{"loss/valid": 1.0, "epoch": 0.5, "examples_seen": 100}])))

    assert (record.epoch, record.examples_seen) == (0.5, 100)
    assert record.values == {"loss/valid": 1.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_no_number_counts_as_diverged(value: float) -> None:
    with pytest.raises(Diverged, match="epoch 1"):
        list(training([{"loss/valid": value}]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["train", "valid"])
def test_a_loss_that_is_no_number_counts_as_diverged_whatever_the_metric(
    part: str, value: float
) -> None:
    loop = OwnTraining(
        OwnLoop(epochs=[{"accuracy/valid": 0.5, f"loss/{part}": value}]),
        epochs=1,
        early_stopping=None,
        metric="accuracy/valid",
        direction="maximize",
    )
    with pytest.raises(Diverged, match="epoch 1"):
        list(loop)


@pytest.mark.parametrize(
    ("record", "named"), [({"loss/train": 1.0}, "loss/valid"), (3.0, "mapping")]
)
def test_a_record_without_the_metric_is_refused(record: Any, named: str) -> None:
    with pytest.raises(UserError, match=named):
        list(training([record]))
