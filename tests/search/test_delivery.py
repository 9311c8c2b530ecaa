"""What MLflow is told of trials: late, in order and once."""

from __future__ import annotations

import errno
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from nnstudy.search.delivery import Delivery, deliver_late, undelivered
from nnstudy.search.events import ignore
from nnstudy.search.interruption import Interruption
from nnstudy.search.keeping import free_disk, trial_directory
from nnstudy.search.patience import Patience
from nnstudy.search.plan import Plan
from nnstudy.search.settings import Settings
from nnstudy.search.storage import open_storage
from nnstudy.tracking import Tracker, TrackingAway
from nnstudy.training import Record
from nnstudy.training.checkpoints import CheckpointError, write
from tests.launching import Place, toy
from tests.search.processes import run_at_once

BEGIN = 1_700_000_000_000


class Stored:
    """A finished study of two trials, and what is needed to deliver."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.storage = open_storage(place.storage)
        self.study = optuna.load_study(study_name="toy/search", storage=self.storage)
        self.plan = Plan.of(self.study)
        self.tracker = Tracker(place.tracking_uri)
        self.settings: Settings = place.options()["settings"]

    def delivery(self, number: int, *, taken_over: bool = False) -> Delivery:
        patience = Patience(1.0, Interruption(), ignore)
        trial = optuna.trial.Trial(self.study, self.study.trials[number]._trial_id)
        return Delivery(self.tracker, self.plan, trial, "cpu", patience, taken_over=taken_over)

    def deliver_late(self) -> list[int]:
        return deliver_late(self.storage, self.tracker, self.plan, self.study, self.settings)

    def owe(self, number: int, records: list[Record], token: int = 1) -> Path:
        """Leaves what a worker leaves that could not tell MLflow."""
        directory = trial_directory(self.plan, self.settings, number, token)
        file = directory / "last.safetensors"
        write(file, {"history": [record.to_dict() for record in records]})
        return file

    def points(self, number: int, key: str = "loss/valid") -> list[tuple[int, float, int]]:
        """Steps, values and time stamps of a curve in the order in which they came."""
        run_id = self.place.run(number).info.run_id
        with closing(sqlite3.connect(self.place.directory / "mlflow.db")) as database:
            query = "select step, value, timestamp from metrics where run_uuid = ? and key = ?"
            return database.execute(f"{query} order by rowid", (run_id, key)).fetchall()

    def forget(self, number: int) -> None:
        """Lets MLflow be without a trial's curves and ending."""
        run_id = self.place.run(number).info.run_id
        with closing(sqlite3.connect(self.place.directory / "mlflow.db")) as database:
            database.execute("delete from metrics where run_uuid = ?", (run_id,))
            database.execute("delete from latest_metrics where run_uuid = ?", (run_id,))
            database.execute(
                "update runs set status = 'RUNNING', end_time = null where run_uuid = ?", (run_id,)
            )
            database.commit()

    def rename(self, old: str, new: str) -> None:
        with closing(sqlite3.connect(self.place.directory / "mlflow.db")) as database:
            database.execute(f"alter table {old} rename to {new}")


@pytest.fixture
def stored(place: Place) -> Stored:
    place.launch(toy(trials=2, epochs=1))
    return Stored(place)


def curve(*steps: int, start: int = 0) -> list[Record]:
    """Records of steps, with the time stamps of a start."""
    return [
        Record(
            step,
            step,
            values={"loss/valid": 1 / step, "accuracy/valid": step / 10},
            timestamp=BEGIN + 10_000 * start + step,
        )
        for step in steps
    ]


def expected(*steps: int, start: int = 0) -> list[tuple[int, float, int]]:
    return [(step, 1 / step, BEGIN + 10_000 * start + step) for step in steps]


# -- While a trial is trained ---------------------------------------------------------------


def test_what_is_told_twice_is_there_once_and_what_was_lost_is_filled_in(stored: Stored) -> None:
    stored.forget(0)
    first = stored.delivery(0)
    first.add(curve(1, 3))
    assert first.flush()
    heir = stored.delivery(0, taken_over=True)
    heir.add(curve(1, 2, 3, 4))
    assert heir.flush()
    assert sorted(stored.points(0)) == expected(1, 2, 3, 4)


def test_steps_of_an_earlier_start_stay_as_they_are(stored: Stored) -> None:
    stored.forget(0)
    first = stored.delivery(0)
    first.add(curve(1, 2))
    first.flush()
    heir = stored.delivery(0, taken_over=True)
    heir.require()
    heir.add(curve(1, 2))
    heir.start_again()
    heir.add(curve(1, 2, 3, start=1))
    assert heir.flush()
    assert sorted(stored.points(0)) == [*expected(1, 2), *expected(3, start=1)]


def test_what_waits_while_mlflow_is_away_comes_in_order_with_its_time_stamps(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnstudy.search.patience._REST_SECONDS", 0.0)
    monkeypatch.setattr("nnstudy.search.patience._REST_FACTOR", 0.0)
    stored.forget(1)
    stored.rename("runs", "gone")
    delivery = stored.delivery(1)
    for record in curve(1, 2, 3):
        delivery.add([record])
        assert not delivery.flush()
    assert delivery.run is None
    with pytest.raises(TrackingAway):
        delivery.require()

    stored.rename("gone", "runs")
    assert delivery.flush()
    assert stored.points(1) == expected(1, 2, 3)


def test_an_end_that_a_dead_worker_told_mlflow_of_is_there_once(stored: Stored) -> None:
    stored.forget(0)
    facts = {"ended": "complete", "reason": "", "traceback": None}
    first = stored.delivery(0)
    first.add(curve(1, 2))
    assert first.finish(facts, curve(1, 2)[0])
    heir = stored.delivery(0, taken_over=True)
    heir.require()
    again = curve(1, 2, start=1)  # trained once more from an older checkpoint
    heir.add(again)
    assert heir.finish(facts, again[0])
    assert stored.points(0, "best/accuracy/valid") == [(0, 0.1, BEGIN + 1)]


# -- Later ----------------------------------------------------------------------------------


def test_a_finished_trial_whose_state_is_left_is_told_of_once(stored: Stored) -> None:
    assert stored.deliver_late() == []
    stored.forget(1)
    file = stored.owe(1, curve(1, 2))

    assert stored.deliver_late() == [1]

    assert stored.points(1) == expected(1, 2)
    run = stored.place.run(1)
    ended = stored.study.trials[1].datetime_complete
    assert ended is not None
    assert (run.info.status, run.info.end_time) == ("FINISHED", round(ended.timestamp() * 1000))
    assert stored.points(1, "best/accuracy/valid") == [(0, 0.1, BEGIN + 1)]
    assert not file.exists()
    assert file.parent.exists()  # with the best weights in it
    assert stored.deliver_late() == []


def test_a_run_that_was_never_opened_is_made_with_its_beginning(stored: Stored) -> None:
    run_id = stored.place.run(0).info.run_id
    with closing(sqlite3.connect(stored.place.directory / "mlflow.db")) as database:
        for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
            database.execute(f"delete from {table} where run_uuid = ?", (run_id,))
        database.commit()
    stored.owe(0, curve(1, 2))
    trial = stored.study.trials[0]
    verdict = {"name": "plateau", "evidence": "no gain", "advice": "Stop earlier.", "figures": {}}
    facts = {**trial.user_attrs["nnstudy"], "verdicts": [verdict, {**verdict, "name": "at chance"}]}
    # Optuna lets no finished trial be changed.
    with closing(sqlite3.connect(stored.place.directory / "optuna.db")) as database:
        database.execute(
            "update trial_user_attributes set value_json = ? where trial_id = ? and key = ?",
            (json.dumps(facts), trial._trial_id, "nnstudy"),
        )
        database.commit()
    stored.study = optuna.load_study(
        study_name="toy/search", storage=open_storage(stored.place.storage)
    )

    assert stored.deliver_late() == [0]

    run = stored.place.run(0)
    assert run.data.tags["nnstudy.verdicts"] == "plateau, at chance"
    assert "- **plateau**: no gain. *Stop earlier.*" in run.data.tags["mlflow.note.content"]
    assert trial.datetime_start is not None
    assert run.info.start_time == round(trial.datetime_start.timestamp() * 1000)
    assert run.data.params["units"] == str(trial.params["units"])
    assert stored.points(0) == expected(1, 2)


def test_a_state_that_cannot_be_read_leaves_the_curves_but_not_the_ending_out(
    stored: Stored,
) -> None:
    stored.forget(0)
    stored.owe(0, curve(1)).write_bytes(b"damaged")
    assert stored.deliver_late() == [0]
    assert stored.place.run(0).info.status == "FINISHED"
    assert stored.points(0) == []


def test_curves_that_cannot_be_read_for_a_moment_are_kept(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    stored.forget(0)
    file = stored.owe(0, curve(1, 2))
    with monkeypatch.context() as patch:
        patch.setattr("nnstudy.training.checkpoints.files.safe_open", busy)
        with pytest.raises(CheckpointError):
            stored.deliver_late()
    assert file.exists()
    assert stored.deliver_late() == [0]
    assert stored.points(0) == expected(1, 2)


def test_a_limit_on_disk_space_spares_what_mlflow_lacks(stored: Stored) -> None:
    file = stored.owe(0, curve(1, 2))
    free_disk(stored.plan, replace(stored.settings, disk_limit=1))
    assert file.exists()
    assert not list(stored.settings.checkpoints.rglob("best-*"))


def test_what_cannot_be_told_yet_is_kept(stored: Stored) -> None:
    file = stored.owe(0, curve(1, 2))
    stored.forget(0)
    stored.rename("runs", "gone")
    with pytest.raises(TrackingAway):
        stored.deliver_late()
    assert file.exists()
    stored.rename("gone", "runs")
    assert stored.deliver_late() == [0]


def test_states_of_running_trials_and_of_late_workers_are_nobodys_business(
    stored: Stored,
) -> None:
    trial = stored.study.ask()
    stored.owe(trial.number, curve(1))
    assert undelivered(stored.plan, stored.study, stored.settings) == []

    # The directory of the lease that ended it counts: what another worker wrote late is stale.
    stored.owe(0, curve(1), token=3)
    assert undelivered(stored.plan, stored.study, stored.settings) == []
    stored.owe(0, curve(1, 2))
    ((owed, file),) = undelivered(stored.plan, stored.study, stored.settings)
    assert (owed.number, file.parent.name) == (0, "trial-00000")
    assert stored.study.trials[trial.number].state is TrialState.RUNNING


def _deliver(directory: str, storage: str) -> list[int]:
    return Stored(Place(Path(directory), storage)).deliver_late()


@pytest.mark.slow
def test_two_processes_that_deliver_at_once_make_one_run(stored: Stored) -> None:
    with closing(sqlite3.connect(stored.place.directory / "mlflow.db")) as database:
        for number in (0, 1):
            run_id = stored.place.run(number).info.run_id
            for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
                database.execute(f"delete from {table} where run_uuid = ?", (run_id,))
        database.commit()
    for number in (0, 1):
        stored.owe(number, curve(1, 2, 3))
    arguments: list[tuple[Any, ...]] = [(str(stored.place.directory), stored.place.storage)] * 3

    delivered = run_at_once(_deliver, arguments)

    assert sorted(chain.from_iterable(delivered)) == [0, 1]
    for number in (0, 1):
        assert stored.points(number) == expected(1, 2, 3)
