"""Makes a tracking database ready: ours and nobody else's, created once, quick to write to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nnstudy.errors import UserError
from nnstudy.tracking.location import Location
from nnstudy.tracking.quiet import quietly

if TYPE_CHECKING:
    import sqlite3

    from mlflow.tracking import MlflowClient
    from sqlalchemy.engine import Connection, Engine

# Any number that other users of the database's advisory locks are unlikely to take.
_POSTGRES_LOCK = 0x6E6E_7374_7564_79  # "nnstudy"
_CONNECT_SECONDS = 10
_LOCK_SECONDS = 120

_MLFLOW_TABLES = {"experiments", "runs"}
_OPTUNA_TABLES = {"studies", "trials"}


def prepare(location: Location) -> None:
    """Creates MLflow's tables where they are missing; safe to call from many processes at once.

    MLflow does not lock its first initialisation, and several processes doing it at once leave
    a broken database behind, so it happens under a lock: a file beside SQLite's, an advisory
    lock in Postgres.

    Raises:
        UserError: The database cannot be reached or made, belongs to another program (Optuna's
            cannot be shared: both own a table ``alembic_version``), or has an older schema.
    """
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

    _make_directory(location)
    try:
        engine = create_engine(location.uri, connect_args=_connect_args(location))
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise UserError(
            f"The tracking URI {location.masked_uri} cannot be used: {location.scrub(error)}"
        ) from None
    try:
        with _locked(location, engine):
            if location.sqlite_file:
                _create_whole(location.sqlite_file)
            _refuse_foreign(location, set(inspect(engine).get_table_names()))
            if location.sqlite_file:
                _write_ahead(engine)
            _create_tables(location)
    except DBAPIError as error:
        raise UserError(
            f"The tracking database {location.masked_uri} cannot be opened:"
            f" {location.scrub(error.orig)}. Is it running, and is the URI right?"
        ) from None
    finally:
        engine.dispose()


@contextmanager
def locked(location: Location) -> Iterator[None]:
    """Holds the lock of the tracking database, against other processes and machines.

    An MLflow server offers no lock; there, nothing is held.
    """
    if location.is_server:
        yield
        return
    from sqlalchemy import create_engine

    engine = create_engine(location.uri, connect_args=_connect_args(location))
    try:
        with _locked(location, engine):
            yield
    finally:
        engine.dispose()


@contextmanager
def _locked(location: Location, engine: Engine) -> Iterator[None]:
    if location.sqlite_file:
        from filelock import FileLock

        with FileLock(f"{location.sqlite_file}.lock", timeout=_LOCK_SECONDS):
            yield
    elif engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            _advisory(connection, "pg_advisory_lock")
            try:
                yield
            finally:
                _advisory(connection, "pg_advisory_unlock")
    else:
        yield


def _advisory(connection: Connection, function: str) -> None:
    from sqlalchemy import func, select

    connection.execute(select(getattr(func, function)(_POSTGRES_LOCK)))
    # the lock belongs to the session; an idle transaction would only hold up others
    connection.commit()


def _connect_args(location: Location) -> dict[str, int]:
    if location.sqlite_file:
        return {"timeout": _CONNECT_SECONDS}
    return {"connect_timeout": _CONNECT_SECONDS} if location.uri.startswith("postgresql") else {}


def _make_directory(location: Location) -> None:
    if not location.sqlite_file:
        return
    directory = location.sqlite_file.parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{location.sqlite_file.name}.lock").touch()
    except OSError as error:
        raise UserError(
            f"The tracking database {location.sqlite_file} cannot be made: {error.strerror}:"
            f" {error.filename}. Give another place, for example"
            " MLFLOW_TRACKING_URI=sqlite:///mlruns/mlflow.db"
        ) from None


def _refuse_foreign(location: Location, tables: set[str]) -> None:
    if tables >= _OPTUNA_TABLES:
        raise UserError(
            f"{location.masked_uri} is Optuna's database. Optuna and MLflow cannot share one"
            " (both own a table alembic_version): give MLflow a file of its own, or in Postgres"
            " a database or schema of its own, for example"
            " MLFLOW_TRACKING_URI=sqlite:///mlruns/mlflow.db"
        )
    own = {table for table in tables if not table.startswith("alembic_")}
    if own and not tables >= _MLFLOW_TABLES:
        raise UserError(
            f"{location.masked_uri} is the database of another program (it has the tables"
            f" {', '.join(sorted(own)[:5])}, and not MLflow's): give MLflow a file, database or"
            " schema of its own"
        )


def _create_whole(file: Path) -> None:
    """Creates a missing SQLite database beside its place and moves it there when it is whole.

    In SQLite MLflow's migrations are no single transaction: a process killed in the middle of
    them would leave a database that no later one could open or repair.
    """
    if file.exists() and file.stat().st_size:
        return
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine, event

    unfinished = file.with_name(f"{file.name}.new")
    unfinished.unlink(missing_ok=True)
    engine = create_engine(f"sqlite:///{unfinished}")
    event.listen(engine, "connect", _write_carelessly)
    try:
        with quietly():
            _initialize_tables(engine)  # type: ignore[no-untyped-call]  # MLflow has no types
    finally:
        engine.dispose()
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())
    unfinished.replace(file)


def _write_carelessly(connection: sqlite3.Connection, _: object) -> None:
    # A thousand small migrations, each forced to the disk, take most of the time; a database
    # that is not whole is made anew anyway.
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA journal_mode=MEMORY")


def _write_ahead(engine: Engine) -> None:
    """Lets readers and one writer work side by side; the setting stays with the file."""
    from sqlalchemy import text

    with engine.connect() as connection:
        connection.execute(text("PRAGMA journal_mode=WAL"))


def commit_to_the_log(client: MlflowClient) -> None:
    """Spares each of a client's commits to SQLite the wait for the disk.

    In a write-ahead log that costs the last commits before a power cut, never the file. A trial
    makes some ten, one worker at a time, and a disk may take 20 ms for each.
    """
    from sqlalchemy import event

    engine = client._tracking_client.store.engine

    @event.listens_for(engine, "connect")
    def relax(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    engine.dispose()  # connections there are already


def _create_tables(location: Location) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        with quietly():
            MlflowClient(location.uri).search_experiments(max_results=1)
    except MlflowException as error:
        reason = location.scrub(error.message)
        if "out-of-date" in reason:
            raise UserError(
                f"The tracking database {location.masked_uri} was made by another version of"
                " MLflow. Keep a copy of it, then run: mlflow db upgrade URI"
            ) from None
        raise UserError(
            f"The tracking database {location.masked_uri} cannot be used: {reason}"
        ) from None
