"""Requests of people, interruptions, and heartbeats."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from textwrap import dedent

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


def test_one_ctrl_c_asks_and_a_second_one_ends() -> None:
    interruption = Interruption()
    before = signal.getsignal(signal.SIGINT)
    with interruption.on_signals():
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.requested
        assert not interruption.leaving
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_asks_to_leave_at_once_and_kills_nobody_who_holds_nothing() -> None:
    interruption = Interruption()
    with interruption.on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.requested
        assert interruption.leaving
        time.sleep(1.0)  # longer than a trial has to be handed back


def test_the_end_of_the_time_asks_once() -> None:
    interruption = Interruption()
    with interruption.after(0.05):
        interruption.wait(10)
    assert interruption.requested
    assert interruption.timed_out
    with Interruption().after(None):
        pass


def test_what_a_stuck_main_thread_holds_is_given_back_within_a_second(tmp_path: Path) -> None:
    script = dedent("""
        import signal, sys, time
        from pathlib import Path
        from nnstudy.search.interruption import Interruption

        interruption = Interruption()
        with interruption.on_signals(), interruption.holding(lambda: Path(sys.argv[1]).touch()):
            # As in a long operation of the system, Python comes to no signal here.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            print("ready", flush=True)
            while True:
                time.sleep(60)
    """)
    released = tmp_path / "released"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(released)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        started = time.monotonic()
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGTERM
        assert time.monotonic() - started < 2
    assert released.exists()


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
    abandoned = threading.Event()
    with heartbeat(lease, lambda: "stuck", abandoned.set):
        time.sleep(0.8)
        assert not abandoned.is_set()
        assert Leases(storage, "other").take(1) is not None
        assert abandoned.wait(1.0)
    assert not lease.valid()


def test_a_heartbeat_outlives_an_error_of_the_database(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "nnstudy")
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
