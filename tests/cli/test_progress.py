from __future__ import annotations

from typing import Any

import pytest

from nnstudy.cli.progress import Progress
from nnstudy.search.events import Event, Kind


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def stage(**changes: Any) -> Event:
    values = {
        "study": "mine",
        "stage": "search",
        "trials": 10,
        "finished": 0,
        "epochs": 5,
        "folds": 1,
        "seeds": 1,
        "metric": "accuracy/valid",
        "direction": "maximize",
        "workers": 2,
        "best": None,
    }
    return Event("stage", values | changes)


def begin(number: int, **params: float) -> Event:
    values = {"stage": "search", "trial": number, "params": params, "epoch": 0, "epochs": 5}
    return Event("trial", values)


def end(number: int, state: str, value: float | None) -> Event:
    values = {
        "stage": "search",
        "trial": number,
        "state": state,
        "reason": "epochs",
        "value": value,
        "epochs": 5,
        "best_epoch": 4,
        "scores": [],
        "seconds": 1.0,
    }
    return Event("end", values)


def test_trials_come_and_go() -> None:
    progress = Progress(clock=Clock())
    progress.hear(stage(finished=2))
    progress.hear(begin(2, lr=0.1))
    progress.hear(begin(3, lr=0.2))
    progress.hear(
        Event("epoch", {"stage": "search", "trial": 3, "epoch": 2.0, "score": 0.7, "best": 0.8})
    )
    assert progress.running[3].epoch == 2.0
    assert progress.running[3].score == 0.7
    progress.hear(end(2, "pruned", 0.4))
    assert list(progress.running) == [3]
    assert progress.finished == 3
    assert progress.endings == {"pruned": 1}
    assert progress.best is None


@pytest.mark.parametrize(
    ("direction", "earlier", "expected"),
    [("maximize", None, 1), ("minimize", None, 0), ("maximize", 0.95, None)],
)
def test_the_best_is_that_of_complete_trials(
    direction: str, earlier: float | None, expected: int | None
) -> None:
    progress = Progress(clock=Clock())
    progress.hear(stage(direction=direction, best=earlier))
    for number, (state, value) in enumerate(
        [("complete", 0.5), ("complete", 0.9), ("pruned", 0.99), ("pruned", 0.01), ("failed", None)]
    ):
        progress.hear(begin(number, lr=number))
        progress.hear(end(number, state, value))
    assert progress.best is not None
    assert progress.best.number == expected
    assert progress.best.params == ({} if expected is None else {"lr": expected})


def test_time_left_comes_from_trials_of_this_stage() -> None:
    clock = Clock()
    progress = Progress(clock=clock)
    progress.hear(stage())
    assert progress.seconds_left() is None
    progress.hear(begin(0))
    clock.now += 10
    progress.hear(end(0, "complete", 0.5))
    assert progress.seconds_left() == pytest.approx(9 * 10 / 2)
    progress.hear(begin(1))
    clock.now += 4
    assert progress.seconds_left() == pytest.approx((8 * 10 + 6) / 2)
    progress.hear(stage(stage="fine"))
    assert progress.seconds_left() is None
    assert progress.running == {}


@pytest.mark.parametrize("kind", ["message", "warning", "output", "cost", "error"])
def test_other_events_change_nothing(kind: Kind) -> None:
    progress = Progress(clock=Clock())
    progress.hear(stage())
    before = repr(progress)
    progress.hear(Event(kind, {"text": "so"}))
    assert repr(progress) == before
