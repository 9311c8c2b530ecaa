from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable

import pytest
from rich.console import Console

from nnstudy.cli.display import Display, JsonLines, Lines
from nnstudy.cli.live import LiveTable
from nnstudy.search.events import Event

from .test_progress import begin, end, stage

STORY = [
    Event(
        "cost",
        {
            "study": "mine",
            "trials": 10,
            "epochs": 50,
            "epoch_seconds": 2.0,
            "seconds": 50.0,
            "workers": 2,
            "storage": "sqlite:///o.db",
            "tracking": "sqlite:///m.db",
        },
    ),
    stage(finished=3, best=0.2),
    begin(3, lr=0.05, units=64),
    Event("warning", {"text": "mind the gap"}),
    end(3, "complete", 0.9731),
    begin(4, lr=9.0, units=8),
    end(4, "diverged", None),
]


def _tell(display: Display, events: Iterable[Event]) -> None:
    with display:
        for event in events:
            display.hear(event)
        display.result(["done", "next: nnstudy ui mine"], {"complete": True})


def test_lines_tell_the_story(capsys: pytest.CaptureFixture[str]) -> None:
    _tell(Lines(), STORY)
    output, errors = capsys.readouterr()
    assert output.splitlines() == [
        "mine: 10 trials, 50 epochs at most, about 50 s with 2 workers",
        "  storage: sqlite:///o.db",
        "  MLflow:  sqlite:///m.db",
        "stage search: 10 trials of up to 5 epochs, maximize accuracy/valid, 3 finished before",
        "trial 3 complete: accuracy/valid 0.9731 at epoch 4 (lr=0.05, units=64), 1.0 s",
        "trial 4 diverged: epochs (lr=9, units=8), 1.0 s",
        "",
        "done",
        "next: nnstudy ui mine",
    ]
    assert errors == "Warning: mind the gap\n"


def test_quiet_tells_the_result_alone(capsys: pytest.CaptureFixture[str]) -> None:
    _tell(Display(), STORY)
    output, errors = capsys.readouterr()
    assert output == "done\n"
    assert errors == ""


def test_json_is_every_event_and_what_is_printed_goes_elsewhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display = JsonLines()
    with display:
        for event in STORY:
            display.hear(event)
            sys.stdout.write("a recipe prints\n")
        display.result(["done"], {"complete": True})
    output, errors = capsys.readouterr()
    lines = [json.loads(line) for line in output.splitlines()]
    assert lines == [
        *({"event": event.kind, **event.values} for event in STORY),
        {"event": "result", "complete": True},
    ]
    assert errors.count("a recipe prints") == len(STORY)
    sys.stdout.write("and is itself again")
    assert "itself again" in capsys.readouterr().out


def _drawn(events: Iterable[Event], *, ending: bool = False) -> str:
    display = LiveTable(Console(file=io.StringIO(), width=120))
    for event in events:
        display.hear(event)
    if ending:
        display.announce_ending()
    canvas = Console(file=io.StringIO(), width=120)
    canvas.print(display.render())
    output = canvas.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_live_table_shows_progress_best_and_running_trials() -> None:
    epoch = Event("epoch", {"trial": 5, "epoch": 2.0, "score": 0.41, "best": 0.5, "seconds": 1.0})
    text = _drawn([*STORY, begin(5, lr=0.3, units=32), epoch])
    lines = text.splitlines()
    assert lines[0].startswith("mine/search")
    assert "5 of 10 trials" in lines[0]
    assert "1 complete, 1 diverged" in lines[0]
    assert "left" in lines[0]
    assert lines[1].startswith("best: accuracy/valid 0.9731, trial 3 (lr=0.05, units=64)")
    assert lines[-1].split()[:3] == ["5", "2/5", "0.4100"]
    assert "lr=0.3, units=32" in lines[-1]


def test_live_table_says_that_ctrl_c_was_heard() -> None:
    assert "press Ctrl-C again to end now" in _drawn(STORY, ending=True)
    assert "ending" in _drawn([], ending=True)


def test_live_table_names_an_earlier_best() -> None:
    assert "best: accuracy/valid 0.2000, an earlier launch" in _drawn([stage(best=0.2)])


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        ("pruned", "pruned at epoch 3", "trial 4 pruned at epoch 3, 1.0 s"),
        (
            "diverged",
            "diverged: the loss became NaN",
            "trial 4 diverged: the loss became NaN, 1.0 s",
        ),
        ("failed", "ValueError: no", "trial 4 failed: ValueError: no, 1.0 s"),
    ],
)
def test_a_line_does_not_tell_the_state_twice(
    capsys: pytest.CaptureFixture[str], state: str, reason: str, told: str
) -> None:
    ending = {"trial": 4, "state": state, "reason": reason, "value": None, "seconds": 1.0}
    ending |= {"stage": "search", "epochs": 3, "best_epoch": None}
    _tell(Lines(), [*STORY[:2], Event("end", ending)])

    assert told in capsys.readouterr().out
