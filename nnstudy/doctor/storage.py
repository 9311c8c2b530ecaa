"""Whether Optuna's database can be used, tried out without leaving anything in it."""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy.engine import make_url

from nnstudy.doctor.check import Check, ok, problem, warning
from nnstudy.doctor.filesystems import free_bytes, scratch_directory, size
from nnstudy.doctor.servers import check_clock, check_server, engine_of
from nnstudy.doctor.sqlite_files import check_file, is_stored
from nnstudy.errors import UserError
from nnstudy.search.storage import NothingStored, open_storage
from nnstudy.secret_urls import mask, scrub
from nnstudy.study.quiet_optuna import quiet_optuna

_WHAT = "storage"
_WRITES = 5
_SLOW_MS = 100.0


def check_storage(url: str) -> Iterator[Check]:
    """Yields what is right and wrong with Optuna's database.

    Where studies are stored, a study without trials is made in it, written to, read and
    removed again. Where nothing is stored yet, the same is done in a file beside its place, or
    on a server as far as that leaves nothing behind.

    Args:
        url: As ``storage_url`` returns it.
    """
    try:
        if file := sqlite_file(url):
            yield from _check_sqlite(url, file)
        else:
            yield from _check_server(url)
    except UserError as error:
        yield problem(_WHAT, str(error))
    except (sa.exc.SQLAlchemyError, StorageInternalError) as error:
        reason = scrub(str(error.__cause__ or error).strip().splitlines()[0], url)
        yield problem(
            _WHAT,
            f"{mask(url)} does not do what is asked: {reason}",
            "look at the server, the disk and this user's rights",
        )


def sqlite_file(url: str) -> Path | None:
    """Returns the file of a SQLite URL, None for any other URL."""
    try:
        address = make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        return None
    if address.get_backend_name() != "sqlite" or not address.database:
        return None
    return None if address.database.startswith((":", "file:")) else Path(address.database)


def _check_sqlite(url: str, file: Path) -> Iterator[Check]:
    found = list(check_file(_WHAT, file))
    yield from found
    if any(check.verdict == "problem" for check in found):
        return
    if is_stored(file):
        yield from _check_opened(open_storage(url, create=False), mask(url))
        yield _room(file)
    else:
        yield from _rehearse(file)


def _rehearse(file: Path) -> Iterator[Check]:
    try:
        with scratch_directory(file.parent) as directory:
            storage = open_storage(f"sqlite:///{directory / 'optuna.db'}")
            yield from _check_opened(
                storage, f"{file} is not there yet, the first launch makes it; in a file beside it"
            )
        yield _room(file)
    except OSError as error:
        yield problem(
            _WHAT,
            f"{file} cannot be made: {error.strerror}: {error.filename}",
            "look at the permissions of the directory, or give another place with --storage",
        )


def _check_opened(storage: RDBStorage, where: str) -> Iterator[Check]:
    milliseconds = _try(storage)
    told = f"{where}: written and read, a write takes {milliseconds:.1f} ms"
    if milliseconds > _SLOW_MS:
        yield warning(
            _WHAT, told, "use a database that is nearer, on a local disk or a server beside you"
        )
    else:
        yield ok(_WHAT, told)
    if storage.engine.dialect.name == "sqlite":
        with storage.engine.connect() as connection:
            mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        if mode == "wal":
            yield ok(_WHAT, "the write-ahead log works, readers and a writer do not wait")
        else:
            yield warning(
                _WHAT,
                f"SQLite keeps no write-ahead log here (journal_mode={mode}), so that workers"
                " wait for each other",
                "put the file on a local disk, or use PostgreSQL",
            )
    storage.engine.dispose()


def _try(storage: RDBStorage) -> float:
    """Writes, reads and removes a study; returns the milliseconds of a write."""
    with quiet_optuna():  # it tells of every study made
        study_id = storage.create_new_study(
            [StudyDirection.MINIMIZE], f"nnstudy-doctor-{secrets.token_hex(6)}"
        )
    try:
        times = []
        for number in range(_WRITES):
            began = time.perf_counter()
            storage.set_study_user_attr(study_id, "nnstudy:doctor", number)
            times.append((time.perf_counter() - began) * 1000)
        if storage.get_study_user_attrs(study_id) != {"nnstudy:doctor": _WRITES - 1}:
            raise UserError("the database does not give back what was written to it")
    finally:
        storage.delete_study(study_id)
    return statistics.median(times)


def _room(file: Path) -> Check:
    free = free_bytes(file.parent)
    if free < 100e6:
        return problem(_WHAT, f"{size(free)} are free beside {file}", "make room on that disk")
    return ok(_WHAT, f"{size(free)} are free on its disk")


def _check_server(url: str) -> Iterator[Check]:
    try:
        storage = open_storage(url, create=False)
    except NothingStored:
        engine = engine_of(url)
        yield ok(_WHAT, f"{mask(url)} is empty, the first launch makes its tables")
    else:
        engine = storage.engine
        yield from _check_opened(storage, mask(url))
    if engine.dialect.name == "postgresql":
        yield from check_server(_WHAT, engine)
    yield check_clock(_WHAT, engine)
    engine.dispose()
