from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from nnstudy.errors import UserError
from nnstudy.search import locks
from nnstudy.search.locks import study_lock
from nnstudy.search.storage import open_storage
from tests.search.processes import run_at_once


def _add_ten(url: str, counter: str) -> None:
    storage = open_storage(url)
    for _ in range(10):
        with study_lock(storage, "s"):
            number = int(Path(counter).read_text())
            time.sleep(0.005)
            Path(counter).write_text(str(number + 1))


@pytest.mark.slow
def test_processes_take_turns(any_storage_url: str, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    open_storage(any_storage_url)
    run_at_once(_add_ten, [(any_storage_url, str(counter))] * 4)
    assert counter.read_text() == "40"


def test_second_taker_is_told_who_to_look_for(any_storage_url: str) -> None:
    storage = open_storage(any_storage_url)
    with (
        study_lock(storage, "digits/fine"),
        pytest.raises(UserError, match="lock of study digits/fine"),
        study_lock(storage, "digits/fine", timeout=0.1),
    ):
        pytest.fail("two holders")


def test_lock_is_free_again_after_an_error(any_storage_url: str) -> None:
    storage = open_storage(any_storage_url)
    with pytest.raises(KeyError), study_lock(storage, "s"):
        raise KeyError
    with study_lock(storage, "s", timeout=0.1):
        pass


def test_locks_of_two_studies_do_not_meet(any_storage_url: str) -> None:
    storage = open_storage(any_storage_url)
    with study_lock(storage, "a"), study_lock(storage, "b", timeout=0.1):
        pass


def test_database_can_be_written_under_the_lock(any_storage_url: str) -> None:
    storage = open_storage(any_storage_url)
    with study_lock(storage, "s"):
        storage.create_new_study([], "s")


@pytest.mark.postgres
def test_row_lock_of_other_databases_lets_threads_take_turns(postgres_url: str) -> None:
    engine = open_storage(postgres_url).engine
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for _ in range(5):
            with locks._row_lock(engine, "s", 10):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.002)
                inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 20
