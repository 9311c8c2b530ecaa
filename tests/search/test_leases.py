from __future__ import annotations

import time
from itertools import chain, count

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


# -- Deaths ---------------------------------------------------------------------------------


def test_a_lease_that_ran_out_is_a_death_and_one_given_back_is_none(any_storage_url: str) -> None:
    storage = open_storage(any_storage_url)
    slow, quick = Leases(storage, "slow", seconds=0.05), Leases(storage, "quick")
    first = slow.take(7)
    assert first is not None
    assert first.deaths == 0
    time.sleep(0.1)
    second = quick.take(7)
    assert second is not None
    assert second.deaths == 1
    second.release()
    third = quick.take(7)
    assert third is not None
    assert (third.deaths, third.token) == (1, 3)
    assert quick.all()[7].deaths == 1


def test_a_trial_that_got_on_has_no_deaths_in_a_row(any_storage_url: str) -> None:
    leases = Leases(open_storage(any_storage_url), "mortal")
    leases.take(7)
    leases.expire("mortal")
    lease = leases.take(7)
    assert lease is not None
    assert lease.deaths == 1
    lease.got_on()
    assert (lease.deaths, leases.all()[7].deaths) == (0, 0)
    leases.expire("mortal")
    again = leases.take(7)
    assert again is not None
    assert again.deaths == 1


def test_a_worker_that_lost_its_lease_forgets_no_death_of_another(sqlite_url: str) -> None:
    leases = Leases(open_storage(sqlite_url), "mortal")
    leases.take(7)
    leases.expire("mortal")
    late = leases.take(7)
    leases.expire("mortal")
    current = leases.take(7)
    assert late is not None
    assert current is not None
    late.got_on()
    assert leases.all()[7].deaths == current.deaths == 2


def test_expiring_ends_at_once_all_leases_of_one_owner_and_no_others(any_storage_url: str) -> None:
    storage = open_storage(any_storage_url)
    dead, alive = Leases(storage, "host:1"), Leases(storage, "host:11")
    dead.take(1)
    dead.take(2)
    given_back = dead.take(3)
    alive.take(4)
    assert given_back is not None
    given_back.release()

    assert dead.expire("host:1") == 2
    assert alive.expire("host:1") == 0

    assert alive.held() == {4}
    heirs = {trial_id: alive.take(trial_id) for trial_id in (1, 2, 3)}
    assert {i: lease.deaths for i, lease in heirs.items() if lease} == {1: 1, 2: 1, 3: 0}


@pytest.fixture(scope="module")
def reused_leases(tmp_path_factory: pytest.TempPathFactory) -> Leases:
    file = tmp_path_factory.mktemp("leases") / "optuna.db"
    return Leases(open_storage(f"sqlite:///{file}"), "mortal")


_trial_ids = count(1)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    fates=st.lists(st.tuples(st.booleans(), st.sampled_from(["dies", "gives back"])), max_size=6)
)
def test_deaths_are_those_since_the_trial_last_got_on(
    reused_leases: Leases, fates: list[tuple[bool, str]]
) -> None:
    trial_id, deaths = next(_trial_ids), 0
    for gets_on, end in fates:
        lease = reused_leases.take(trial_id)
        assert lease is not None
        assert lease.deaths == deaths
        if gets_on:
            lease.got_on()
            deaths = 0
        if end == "dies":
            reused_leases.expire("mortal")
            deaths += 1
        else:
            lease.release()
    lease = reused_leases.take(trial_id)
    assert lease is not None
    assert (lease.deaths, lease.token) == (deaths, len(fates) + 1)


# -- Tables of version 1 --------------------------------------------------------------------

VERSION_1 = """
CREATE TABLE nnstudy_leases (
    trial_id INTEGER NOT NULL PRIMARY KEY,
    token INTEGER NOT NULL,
    owner VARCHAR(255) NOT NULL,
    expires FLOAT NOT NULL,
    schema_version INTEGER NOT NULL
)
"""


def make_version_1(url: str) -> None:
    """A table as version 1 made it, with a lease that was given back and one that ran out."""
    with open_storage(url).engine.begin() as connection:
        connection.exec_driver_sql(VERSION_1)
        for row in ("7, 3, 'host:1', 0.0, 1", "8, 1, 'host:2', 5.0, 1"):
            connection.exec_driver_sql(f"INSERT INTO nnstudy_leases VALUES ({row})")


def assert_is_current(leases: Leases) -> None:
    assert {i: (info.token, info.deaths) for i, info in leases.all().items()} == {
        7: (3, 0),
        8: (1, 0),
    }
    given_back, ran_out = leases.take(7), leases.take(8)
    assert given_back is not None
    assert ran_out is not None
    assert (given_back.token, given_back.deaths) == (4, 0)
    assert (ran_out.token, ran_out.deaths) == (2, 1)


def test_a_table_that_counts_no_deaths_is_brought_up_to_date(any_storage_url: str) -> None:
    make_version_1(any_storage_url)
    assert_is_current(Leases(open_storage(any_storage_url), "new"))


def _open_leases(url: str, owner: str) -> list[int]:
    return sorted(Leases(open_storage(url), owner).all())


@pytest.mark.slow
def test_ten_processes_at_once_bring_a_table_up_to_date(any_storage_url: str) -> None:
    make_version_1(any_storage_url)
    found = run_at_once(_open_leases, [(any_storage_url, f"worker {i}") for i in range(10)])
    assert found == [[7, 8]] * 10
    assert_is_current(Leases(open_storage(any_storage_url), "new"))
