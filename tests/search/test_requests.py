"""Requests of people, interruptions, and heartbeats."""

from __future__ import annotations

import os
import signal
import threading
import time
from itertools import count

import optuna
import pytest

from nnstudy.search import requests
from nnstudy.search.heartbeat import heartbeat
from nnstudy.search.interruption import Interruption
from nnstudy.search.leases import Leases
from nnstudy.search.storage import open_storage


def test_a_stop_is_seen_by_others_and_can_be_taken_back(sqlite_url: str) -> None:
    storage = open_storage(sqlite_url)
    study = optuna.create_study(study_name="a", storage=storage)
    other = optuna.load_study(study_name="a", storage=open_storage(sqlite_url))
    assert not requests.is_study_stopped(other)
    requests.stop_study(study)
    assert requests.is_study_stopped(other)
    requests.resume(study)
    assert not requests.is_study_stopped(other)


def test_several_trials_can_be_asked_to_stop(sqlite_url: str) -> None:
    study = optuna.create_study(study_name="a", storage=open_storage(sqlite_url))
    requests.stop_trial(study, 3)
    requests.stop_trial(study, 1)
    requests.stop_trial(study, 3)
    asked = [number for number in range(5) if requests.is_trial_stopped(study, number)]
    assert asked == [1, 3]


def test_an_enqueued_point_is_the_next_trial(sqlite_url: str) -> None:
    study = optuna.create_study(study_name="a", storage=open_storage(sqlite_url))
    requests.enqueue(study, {"lr": 0.125})
    trial = study.ask()
    assert trial.suggest_float("lr", 0, 1) == 0.125
    assert 0 <= trial.suggest_float("left_open", 0, 1) <= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_asks_and_a_second_one_ends(number: signal.Signals) -> None:
    interruption = Interruption()
    before = signal.getsignal(number)
    with interruption.on_signals():
        os.kill(os.getpid(), number)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_a_third_signal_close_behind_does_not_tear_what_is_put_in_order() -> None:
    interruption = Interruption()
    interruption.request()
    with pytest.raises(KeyboardInterrupt):
        interruption.request()
    interruption.request()


def test_a_signal_held_back_until_it_can_be_heard_is_heard() -> None:
    interruption = Interruption()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    with interruption.on_signals():
        assert interruption.requested


def test_a_lease_is_kept_while_the_trial_gets_on(sqlite_url: str) -> None:
    storage = open_storage(sqlite_url)
    lease = Leases(storage, "me", seconds=0.4).take(1)
    assert lease
    progress = count()
    with heartbeat(lease, lambda: next(progress)):
        time.sleep(1.0)
        assert Leases(storage, "other").take(1) is None
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


def test_a_trial_that_hangs_loses_its_lease(sqlite_url: str) -> None:
    storage = open_storage(sqlite_url)
    lease = Leases(storage, "me", seconds=0.4).take(1)
    assert lease
    with heartbeat(lease, lambda: "stuck"):
        time.sleep(1.0)
        assert Leases(storage, "other").take(1) is not None
    assert not lease.valid()


def test_a_heartbeat_outlives_an_error_of_the_database(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    storage = open_storage(sqlite_url)
    lease = Leases(storage, "me", seconds=0.4).take(1)
    assert lease
    progress = count()
    with heartbeat(lease, lambda: next(progress)):
        with storage.engine.begin() as connection:
            connection.exec_driver_sql("alter table nnstudy_leases rename to away")
        time.sleep(0.3)
        with storage.engine.begin() as connection:
            connection.exec_driver_sql("alter table away rename to nnstudy_leases")
        time.sleep(0.6)
        assert Leases(storage, "other").take(1) is None
    assert "could not be renewed" in caplog.text
