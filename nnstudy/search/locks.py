"""Mutual exclusion between the processes that share a database."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from filelock import FileLock, Timeout
from optuna.storages import RDBStorage

from nnstudy.errors import UserError

LOCK_TIMEOUT = 120.0
"""Seconds to wait for a lock. Locks are held for milliseconds, so this is a stuck holder."""


class LockStuck(UserError):
    """Somebody else holds a lock for too long."""


_metadata = sa.MetaData()
_locks = sa.Table("nnstudy_locks", _metadata, sa.Column("name", sa.String(255), primary_key=True))


@contextmanager
def study_lock(storage: RDBStorage, name: str, *, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Keeps every other process and thread out of the same lock of the same study.

    The lock is not re-entrant. It ends with the process that holds it.

    Args:
        storage: Optuna's storage.
        name: The study's name.
        timeout: Seconds to wait at most.

    Raises:
        LockStuck: Somebody else has held the lock for ``timeout`` seconds.
    """
    with database_lock(storage.engine, f"study {name}", timeout=timeout):
        yield


@contextmanager
def database_lock(
    engine: sa.Engine, purpose: str, *, timeout: float = LOCK_TIMEOUT
) -> Iterator[None]:
    """Keeps every other user of a database out of the part named by ``purpose``.

    SQLite has a file lock beside the database file, because an open transaction would keep
    out the holder's own writes too. Postgres has an advisory lock, any other database a
    locked row in a table of ours; both are held by a connection of their own.

    Args:
        engine: Whose database is meant.
        purpose: What is to be done alone; other purposes go on undisturbed.
        timeout: Seconds to wait at most.

    Raises:
        LockStuck: Somebody else has held the lock for ``timeout`` seconds.
    """
    lock = {"sqlite": _file_lock, "postgresql": _advisory_lock}.get(engine.dialect.name, _row_lock)
    with lock(engine, purpose, timeout):
        yield


@contextmanager
def _file_lock(engine: sa.Engine, purpose: str, timeout: float) -> Iterator[None]:
    database = Path(engine.url.database or "").absolute()
    path = database.with_name(f".{database.name}.{_digest(purpose)[:8]}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise _stuck(purpose, timeout, f" (its file is {path})") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _advisory_lock(engine: sa.Engine, purpose: str, timeout: float) -> Iterator[None]:
    key = int.from_bytes(bytes.fromhex(_digest(purpose))[:8], signed=True)
    # A lock of the transaction also works behind a connection pooler, one of the session not.
    with engine.begin() as connection:
        milliseconds = str(int(timeout * 1000))
        connection.execute(
            sa.select(sa.func.set_config("lock_timeout", milliseconds, sa.literal(True)))
        )
        try:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            raise _stuck(purpose, timeout) from None
        yield


_LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL's documentation, appendix A


@contextmanager
def _row_lock(engine: sa.Engine, purpose: str, timeout: float) -> Iterator[None]:
    name = _digest(purpose)
    # Either error means that somebody else has made it.
    with suppress(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(sa.schema.CreateTable(_locks, if_not_exists=True))
    with suppress(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(_locks.insert().values(name=name))
    with engine.begin() as connection:
        try:
            connection.execute(
                sa.select(_locks.c.name).where(_locks.c.name == name).with_for_update()
            )
        except sa.exc.OperationalError as error:
            raise _stuck(purpose, timeout, f" ({error.orig})") from None
        yield


def _digest(purpose: str) -> str:
    return hashlib.sha256(f"nnstudy {purpose}".encode()).hexdigest()


def _stuck(purpose: str, timeout: float, detail: str = "") -> LockStuck:
    return LockStuck(
        f"Another process has held the lock of {purpose} for {timeout:.0f} seconds{detail}."
        " Look for a stopped or hanging worker of this study and end it"
    )
