from __future__ import annotations

import time
from itertools import chain

import pytest
import sqlalchemy as sa

from nnstudy.errors import UserError
from nnstudy.search.leases import Leases
from nnstudy.search.storage import open_storage
from tests.search.processes import run_at_once


def test_trial_is_taken_once(any_storage_url: str) -> None:
    storage = open_storage(any_storage_url)
    first = Leases(storage, "first").take(7)
    assert first is not None
    assert first.token == 1
    assert Leases(storage, "second").take(7) is None
    assert first.valid()


def test_released_trial_goes_to_the_next_with_a_new_token(any_storage_url: str) -> None:
    storage = open_storage(any_storage_url)
    first = Leases(storage, "first").take(7)
    assert first is not None
    first.release()
    second = Leases(storage, "second").take(7)
    assert second is not None
    assert second.token == 2
    assert not first.valid()
    assert not first.renew()
    assert second.valid()


def test_worker_that_was_too_slow_cannot_renew(any_storage_url: str) -> None:
    storage = open_storage(any_storage_url)
    slow = Leases(storage, "slow", seconds=0.05).take(7)
    assert slow is not None
    time.sleep(0.1)
    assert slow.valid()  # nobody has taken it yet
    quick = Leases(storage, "quick").take(7)
    assert quick is not None
    assert not slow.valid()
    assert not slow.renew()
    slow.release()
    assert quick.valid()
    assert Leases(storage, "third").take(7) is None


def test_renewed_lease_holds_on(any_storage_url: str) -> None:
    storage = open_storage(any_storage_url)
    lease = Leases(storage, "first", seconds=0.3).take(7)
    assert lease is not None
    for _ in range(4):
        time.sleep(0.1)
        assert lease.renew()
    assert Leases(storage, "second").take(7) is None


def test_lease_that_ran_out_untaken_is_good_again_when_renewed(any_storage_url: str) -> None:
    storage = open_storage(any_storage_url)
    leases = Leases(storage, "first", seconds=0.05)
    lease = leases.take(7)
    assert lease is not None
    time.sleep(0.1)
    leases.seconds = 60
    assert lease.renew()
    assert Leases(storage, "second").take(7) is None


def test_all_tells_owner_token_and_time_left(any_storage_url: str) -> None:
    storage = open_storage(any_storage_url)
    leases = Leases(storage, "host:1", seconds=50)
    assert leases.all() == {}
    leases.take(3)
    released = leases.take(4)
    assert released is not None
    released.release()
    found = leases.all()
    assert found[3].owner == "host:1"
    assert found[3].token == 1
    assert 45 < found[3].expires_in_seconds <= 50
    assert found[4].expires_in_seconds <= 0
    assert leases.held() == {3}


def test_clock_is_the_databases(any_storage_url: str) -> None:
    storage = open_storage(any_storage_url)
    Leases(storage, "w", seconds=10).take(1)
    with storage.engine.connect() as connection:
        expires = connection.scalar(sa.text("select expires from nnstudy_leases"))
    assert expires == pytest.approx(time.time() + 10, abs=2)  # same machine, hence same time


def test_table_of_a_newer_version_is_refused(sqlite_url: str) -> None:
    storage = open_storage(sqlite_url)
    Leases(storage, "w").take(1)
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("update nnstudy_leases set schema_version = 99")
    with pytest.raises(UserError, match="newer nnstudy"):
        Leases(storage, "w")


def test_lease_without_duration_is_refused(sqlite_url: str) -> None:
    with pytest.raises(UserError, match="more than 0 seconds"):
        Leases(open_storage(sqlite_url), "w", seconds=0)


ROUNDS = 40


def _race(url: str, owner: str) -> list[int]:
    """Tries to take trials 0 to ROUNDS - 1; the odd ones have leases that ran out."""
    leases = Leases(open_storage(url), owner)
    return [trial_id for trial_id in range(ROUNDS) if leases.take(trial_id)]


@pytest.mark.slow
def test_of_six_racing_processes_one_wins_each_trial(any_storage_url: str) -> None:
    before = Leases(open_storage(any_storage_url), "dead", seconds=0.001)
    for trial_id in range(1, ROUNDS, 2):
        assert before.take(trial_id)
    wins = run_at_once(_race, [(any_storage_url, f"worker {i}") for i in range(6)])
    assert sorted(chain.from_iterable(wins)) == list(range(ROUNDS))
    tokens = {trial_id: info.token for trial_id, info in before.all().items()}
    assert tokens == {trial_id: 1 + trial_id % 2 for trial_id in range(ROUNDS)}
