"""Worker processes: real ones, on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from nnstudy.engines.local import _parse
from nnstudy.engines.orders import Orders
from nnstudy.errors import UserError
from nnstudy.search.events import Event
from nnstudy.search.interruption import Interruption
from nnstudy.search.settings import Settings
from tests.launching import Place

ROOT = Path(__file__).resolve().parents[2]

STUDY_FILE = """
import os
import signal
import sys
import time
from functools import partial

import torch
from torch import nn

from nnstudy import Callback, Recipe, Stage, Study
from tests.launching import blobs

HERE = os.path.dirname(__file__)


class Habit(Callback):
    # Epochs that take a while, and a worker that is killed once.

    def on_validation_end(self, training, record):
        time.sleep({seconds})
        marker = os.path.join(HERE, "to_be_killed")
        if record.step == 2 and os.path.exists(marker):
            os.remove(marker)
            os.kill(os.getpid(), signal.SIGKILL)


def meet(workers):
    # Waits until so many workers have a trial.
    open(os.path.join(HERE, f"worker-{{os.getpid()}}"), "w").close()
    deadline = time.monotonic() + 60
    while sum(name.startswith("worker-") for name in os.listdir(HERE)) < workers:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def recipe(trial, data):
    lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
    print("printed by the recipe")
    {statement}
    return Recipe(
        network=nn.Linear(4, 3),
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9),
        callbacks=[Habit()] if trial.study.study_name == "toy/search" else [],
    )


study = Study("toy", recipe, data=blobs, stages=[Stage(trials={trials}, epochs=6, pruner="none")])
"""


def write_study(
    place: Place, *, seconds: float = 0.0, trials: int = 6, statement: str = "pass"
) -> str:
    file = place.directory / "study.py"
    file.write_text(STUDY_FILE.format(seconds=seconds, trials=trials, statement=statement))
    return str(file)


def assert_whole(place: Place, trials: int) -> None:
    """Every number once, every step of every trial once."""
    assert [(t.number, t.state) for t in place.trials()] == [
        (number, TrialState.COMPLETE) for number in range(trials)
    ]
    for number in range(trials):
        assert [step for step, _ in place.curves(number)["loss/valid"]] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_two_workers_share_exactly_the_budget(place: Place) -> None:
    both_work = "if trial.study.study_name == 'toy/search': meet(2)"
    result = place.launch(write_study(place, statement=both_work), workers=2)

    assert result.complete
    assert_whole(place, 6)
    ends = [event.values["trial"] for event in place.events if event.kind == "end"]
    assert sorted(ends) == list(range(6))
    # What a recipe prints is passed on and disturbs no events.
    assert "printed by the recipe" in place.texts("output")
    owners = {info.owner for info in _leases(place).all().values()}
    assert len(owners) == 2
    assert not _leases(place).held()


@pytest.mark.slow
def test_a_study_made_in_a_notebook_is_sent_to_its_workers(place: Place) -> None:
    from tests.launching import toy

    factor = 0.5

    def recipe(trial: optuna.Trial, data: Any) -> Any:
        from tests.launching import recipe as other

        trial.suggest_float("closed_over", 0, factor)
        return other(trial, data)

    assert place.launch(toy(recipe, trials=3, epochs=1), workers=2).endings == {"complete": 3}


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_trial_finished(place: Place) -> None:
    study = write_study(place, seconds=0.4, trials=3)
    (place.directory / "to_be_killed").touch()

    result = place.launch(study, workers=2, settings={"lease_seconds": 2.0})

    assert result.complete
    assert_whole(place, 3)
    assert "a worker died by SIGKILL; another one starts" in place.texts("warning")
    assert max(info.token for info in _leases(place).all().values()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_after_the_epoch_with_all_saved_and_the_next_launch_completes(
    place: Place, workers: int
) -> None:
    study = write_study(place, seconds=0.5, trials=3)
    script = dedent(f"""
        import sys
        from pathlib import Path
        from nnstudy.search.interruption import Interruption
        from tests.launching import Place

        def hear(event):
            print(event.kind, flush=True)

        interruption = Interruption()
        with interruption.on_signals():
            place = Place(Path({str(place.directory)!r}), {place.storage!r})
            result = place.launch(
                {study!r}, workers={workers}, hear=hear, interruption=interruption
            )
        print("complete" if result.complete else "to be continued")
    """)
    launcher = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert launcher.stdout is not None
    for line in launcher.stdout:
        if line.strip() == "epoch":
            break
    launcher.send_signal(signal.SIGINT)
    rest, _ = launcher.communicate(timeout=60)

    assert launcher.returncode == 0
    assert rest.splitlines()[-1] == "to be continued"
    assert not _leases(place).held()
    begun = [trial for trial in place.trials() if trial.state is TrialState.RUNNING]
    assert begun
    for trial in begun:
        steps = len(place.curves(trial.number)["loss/valid"])
        assert 1 <= steps < 6
        assert list(place.checkpoints.rglob(f"trial-{trial.number:05d}/last*"))

    assert place.launch(study).complete
    assert_whole(place, 3)


@pytest.mark.slow
def test_a_second_ctrl_c_ends_the_workers_at_once(place: Place) -> None:
    study = write_study(place, seconds=20, trials=2)
    interruption = Interruption()

    def hear(event: Event) -> None:
        if event.kind == "trial" and not interruption.requested:
            interruption.request()
            threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()

    with interruption.on_signals(), pytest.raises(KeyboardInterrupt):
        place.launch(study, workers=2, hear=hear, interruption=interruption)

    assert not _leases(place).held()
    owners = {info.owner.rpartition(":")[2] for info in _leases(place).all().values()}
    assert owners
    assert not [pid for pid in owners if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "if trial.study.study_name == 'toy/search': raise ArithmeticError('no luck')",
            "all of the first 3 trials",
        ),
        (
            "if trial.study.study_name == 'toy/search': os._exit(7)",
            "a worker died by exit code 7, as 10 did before",
        ),
    ],
    ids=["raises", "exits"],
)
def test_an_error_in_a_worker_ends_the_launch_with_its_words(
    place: Place, statement: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "exit" in statement:
        monkeypatch.setattr("nnstudy.engines.hearing._MOST_DEATHS", 1)
        said = said.replace("10", "1")
    with pytest.raises(UserError, match=said):
        place.launch(write_study(place, statement=statement), workers=2)


def test_orders_survive_the_way_to_a_worker() -> None:
    orders = Orders(
        reference="study.py:study",
        name="toy",
        storage="postgresql://me:secret@host/db",
        tracking_uri="http://host:5000",
        artifacts=None,
        data_directory=Path("data"),
        settings=Settings(device="cpu", checkpoints=Path("there"), keep_best=2, upload=True),
    )
    assert Orders.from_json(orders.to_json()) == orders
    assert "\n" not in orders.to_json()


def test_a_line_that_is_no_event_is_passed_on_as_it_is() -> None:
    assert _parse('{"event": "message", "text": "hello"}') == Event("message", {"text": "hello"})
    assert _parse("plain words") == Event("output", {"text": "plain words"})
    assert _parse("[1, 2]") == Event("output", {"text": "[1, 2]"})


def _leases(place: Place) -> Any:
    from nnstudy.search.leases import Leases
    from nnstudy.search.storage import open_storage

    return Leases(open_storage(place.storage), "onlooker")
