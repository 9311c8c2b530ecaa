"""What is away for a while: recognised, waited for, or done without."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa

from nnstudy.errors import UserError
from nnstudy.search.events import Event
from nnstudy.search.interruption import Interrupted, Interruption
from nnstudy.search.leases import Leases
from nnstudy.search.locks import study_lock
from nnstudy.search.patience import Patience, Paused, first_line, is_away
from nnstudy.search.storage import StorageAway, hurried, open_storage
from nnstudy.training.checkpoints import CheckpointError, read, write
from tests.launching import Place
from tests.postgres import PostgresServer
from tests.training.small_disk import fill, small_disk

DATABASE = "the database"


class Waiting:
    """A patience whose words are kept."""

    def __init__(self, seconds: float = 20.0) -> None:
        self.events: list[Event] = []
        self.interruption = Interruption()
        self.patience = Patience(seconds, self.interruption, self.events.append)

    @property
    def texts(self) -> list[tuple[str, str]]:
        return [(event.kind, event.values["text"]) for event in self.events]


class Asleep:
    """An operation on a database that answers only after so many questions, or at some time."""

    def __init__(self, questions: float = 0, seconds: float = 0.0) -> None:
        self.asked: list[float] = []
        self._questions = questions
        self._until = time.monotonic() + seconds

    def __call__(self) -> str:
        self.asked.append(time.monotonic())
        if len(self.asked) <= self._questions or time.monotonic() < self._until:
            raise StorageAway("it is asleep\nand dreams")
        return "awake"


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Keeps everybody else from writing into a SQLite database."""
    with closing(sqlite3.connect(sa.make_url(url).database or "", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def raised(operation: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one it is, is asked later
        operation()
    assert isinstance(caught.value, Exception)
    return caught.value


# -- What is away ---------------------------------------------------------------------------


def test_a_locked_sqlite_database_is_away_and_costs_a_hurried_writer_a_second(
    sqlite_url: str,
) -> None:
    storage = open_storage(sqlite_url)
    study = optuna.create_study(storage=storage)
    lease = Leases(storage, "me").take(1)
    assert lease is not None
    for write_something in (lambda: study.set_user_attr("a", 1), lease.renew):
        with locked(sqlite_url):
            began = time.monotonic()
            with hurried():
                error = raised(write_something)
            assert 0.5 < time.monotonic() - began < 5
        assert is_away(error)
        assert "database is locked" in first_line(error)
    assert lease.renew()


@pytest.mark.postgres
def test_a_stopped_postgres_is_away_a_wrong_password_or_name_is_not(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.new_database()
    storage = open_storage(url)
    study = optuna.create_study(storage=storage)
    lease = Leases(storage, "me").take(1)
    assert lease is not None
    postgres_server.stop()
    try:
        for operation in (
            lambda: open_storage(url),
            lambda: study.set_user_attr("a", 1),
            lease.renew,
            lambda: study_lock(storage, "toy").__enter__(),
        ):
            error = raised(operation)
            assert is_away(error)
            assert postgres_server.password not in first_line(error)
    finally:
        postgres_server.start()
    assert lease.renew()
    for wrong in (
        url.replace(postgres_server.password, "wrong"),
        postgres_server.url("no_such_database"),
    ):
        error = raised(partial(open_storage, wrong))
        assert isinstance(error, UserError)
        assert not is_away(error)


def test_a_full_disk_is_away_and_a_damaged_checkpoint_is_not(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        filler = fill(disk)
        error = raised(lambda: write(disk / "last.safetensors", {"epoch": 1}))
        assert isinstance(error, CheckpointError)
        assert is_away(error)
        filler.unlink()
        write(disk / "last.safetensors", {"epoch": 1})
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"what is this?")
    assert not is_away(raised(lambda: read(damaged)))


def test_a_place_of_checkpoints_that_is_missing_is_away(tmp_path: Path) -> None:
    (tmp_path / "mount").write_text("in the way")
    assert is_away(raised(lambda: write(tmp_path / "mount" / "last.safetensors", {"epoch": 1})))


def test_a_lock_that_another_holds_is_away(sqlite_url: str) -> None:
    storage = open_storage(sqlite_url)
    with study_lock(storage, "toy"):
        error = raised(lambda: study_lock(storage, "toy", timeout=0.05).__enter__())
    assert is_away(error)


def test_an_mlflow_that_does_not_answer_is_away(place: Place) -> None:
    from nnstudy.tracking import Tracker

    tracker = Tracker(place.tracking_uri)
    with closing(sqlite3.connect(place.directory / "mlflow.db")) as database:
        database.execute("alter table runs rename to gone")
    assert is_away(raised(lambda: tracker.has_run("0" * 32)))


def test_what_was_asked_wrongly_is_not_away(sqlite_url: str) -> None:
    storage = open_storage(sqlite_url)
    optuna.create_study(storage=storage, study_name="a")
    for operation in (
        lambda: optuna.create_study(storage=storage, study_name="a"),
        lambda: optuna.load_study(storage=storage, study_name="b"),
        lambda: open_storage("sqlite:///:memory:"),
        lambda: [][1],
    ):
        assert not is_away(raised(operation))


# -- Waiting --------------------------------------------------------------------------------


def test_what_is_away_is_waited_for_and_that_is_said_once() -> None:
    waiting = Waiting()
    assert waiting.patience.wait_for(DATABASE, Asleep(questions=4)) == "awake"
    assert waiting.texts == [
        ("warning", "the database is away (it is asleep): it is waited for"),
        ("message", "the database is back"),
    ]


def test_what_is_back_at_once_is_not_worth_a_word() -> None:
    waiting = Waiting()
    assert waiting.patience.wait_for(DATABASE, Asleep(questions=1)) == "awake"
    assert waiting.texts == []


def test_an_error_that_no_time_cures_is_raised_at_once() -> None:
    waiting = Waiting()
    asked = []

    def ask() -> None:
        asked.append(1)
        raise UserError("the password is wrong")

    with pytest.raises(UserError, match="password is wrong"):
        waiting.patience.wait_for(DATABASE, ask)
    assert len(asked) == 1


def test_a_study_pauses_where_the_waiting_is_in_vain() -> None:
    waiting = Waiting(seconds=0.5)
    began = time.monotonic()
    with pytest.raises(Paused) as paused:
        waiting.patience.wait_for(DATABASE, Asleep(seconds=60))
    assert 0.5 <= time.monotonic() - began < 8
    assert isinstance(paused.value, UserError)
    assert str(paused.value) == (
        "the database was away for 0.5 seconds (it is asleep), so the study pauses. What was"
        " done is kept: launch it again to go on"
    )


@pytest.mark.parametrize("ask", ["request", "hand_back"])
def test_a_request_to_end_ends_the_waiting(ask: str) -> None:
    waiting = Waiting(seconds=60)
    timer = threading.Timer(0.3, getattr(waiting.interruption, ask))
    timer.start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        waiting.patience.wait_for(DATABASE, Asleep(seconds=60))
    assert time.monotonic() - began < 2


def test_a_locked_database_is_waited_for_and_the_write_then_done(sqlite_url: str) -> None:
    study = optuna.create_study(storage=open_storage(sqlite_url))
    waiting = Waiting()

    def write_hurriedly() -> None:
        with hurried():
            study.set_user_attr("done", True)

    holding = threading.Event()

    def hold() -> None:
        with locked(sqlite_url):
            holding.set()
            time.sleep(2.5)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait(10)
    waiting.patience.wait_for(DATABASE, write_hurriedly)
    thread.join()
    assert study.user_attrs == {"done": True}


# -- Doing without --------------------------------------------------------------------------


def test_an_attempt_waits_for_nothing_and_tells_of_each_absence_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nnstudy.search.patience._REST_SECONDS", 0.1)
    waiting, operation = Waiting(), Asleep(questions=3)
    began = time.monotonic()
    assert waiting.patience.attempt(DATABASE, operation) is None
    assert time.monotonic() - began < 0.1
    while (answer := waiting.patience.attempt(DATABASE, operation)) is None:
        assert time.monotonic() - began < 10
        time.sleep(0.005)
    assert answer == "awake"
    assert len(operation.asked) == 4
    assert waiting.texts == [
        (
            "warning",
            "the database is away (it is asleep): training goes on, and what was not written waits",
        ),
        ("message", "the database is back"),
    ]
    assert waiting.patience.attempt(DATABASE, operation) == "awake"
    assert len(waiting.texts) == 2


def test_right_after_a_failure_nothing_is_tried_but_other_things_are() -> None:
    waiting, operation = Waiting(), Asleep(questions=1)
    for _ in range(5):
        assert waiting.patience.attempt(DATABASE, operation) is None
    assert len(operation.asked) == 1
    assert waiting.patience.attempt("MLflow", Asleep()) == "awake"


def test_attempts_at_what_is_away_cost_a_tenth_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nnstudy.search.patience._REST_SECONDS", 0.0)
    waiting, spent = Waiting(), [0.0]

    def ask_in_vain() -> None:
        began = time.monotonic()
        time.sleep(0.02)
        spent[0] += time.monotonic() - began
        raise StorageAway("asleep")

    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < 1.5:
        waiting.patience.attempt(DATABASE, ask_in_vain)
        time.sleep(0.001)
    assert 0.03 * elapsed < spent[0] <= 0.1 * elapsed + 0.1


def test_an_attempt_at_a_locked_database_takes_a_second(sqlite_url: str) -> None:
    study = optuna.create_study(storage=open_storage(sqlite_url))
    waiting = Waiting()
    with locked(sqlite_url):
        began = time.monotonic()
        assert waiting.patience.attempt(DATABASE, lambda: study.set_user_attr("a", 1)) is None
        assert 0.5 < time.monotonic() - began < 5
    assert [kind for kind, _ in waiting.texts] == ["warning"]


def test_an_attempt_raises_what_is_a_mistake() -> None:
    with pytest.raises(ZeroDivisionError):
        Waiting().patience.attempt(DATABASE, lambda: 1 / 0)
