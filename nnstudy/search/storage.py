"""Optuna's storage: opened for many processes at once, or refused with a clear reason."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from sqlalchemy.engine import URL, make_url

from nnstudy.errors import UserError
from nnstudy.search.locks import database_lock
from nnstudy.secret_urls import mask, scrub

DEFAULT_STORAGE = "sqlite:///mlruns/optuna.db"
STORAGE_VARIABLE = "NNSTUDY_STORAGE"

_BUSY_TIMEOUT = 60.0  # seconds that a writer waits for another one
_HURRIED_TIMEOUT = 1.0  # and in the midst of a training
_CONNECT_TIMEOUT = 10  # seconds until a server counts as unreachable
_OPTUNA_TABLES = frozenset({"studies", "trials", "version_info"})
_MLFLOW_TABLES = frozenset({"experiments", "runs"})


_busy_timeout: ContextVar[float] = ContextVar("busy_timeout", default=_BUSY_TIMEOUT)


class StorageAway(UserError):
    """A database does not answer, or is locked."""


class NothingStored(UserError):
    """No study is stored in a database, or there is none."""


def storage_url(url: str | None = None) -> str:
    """Returns ``url``, or the environment's NNSTUDY_STORAGE, or the default.

    The path of a SQLite file is made absolute: a worker may have another working directory.
    """
    url = url or os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE
    head, slashes, path = url.partition(":///")
    if not slashes or not head.startswith("sqlite") or not path or path.startswith((":", "file:")):
        return url
    return f"{head}:///{Path(path).expanduser().absolute()}"


def open_storage(url: str, *, create: bool = True) -> RDBStorage:
    """Opens Optuna's storage and makes its tables if the database is empty.

    Any number of processes may do so at once. A SQLite file gets a write-ahead log, and
    each of its transactions starts as a writer: otherwise two processes can be given the
    same waiting trial, because SQLite has no ``SELECT ... FOR UPDATE``.

    Args:
        url: A SQLAlchemy URL. ``postgresql://`` means the driver psycopg 3. The directory
            of a SQLite file is made if need be.
        create: Whether what is missing is made.

    Raises:
        NothingStored: There is no such database, or no study was ever stored in it, and it is
            not to be made.
        StorageAway: The database does not answer, or is locked.
        UserError: The URL is malformed, its driver is missing, the database cannot be
            reached or written, or belongs to another program or another version of Optuna.
    """
    address = _address(url)
    if address.get_backend_name() == "sqlite":
        if not create and not Path(address.database or "").is_file():
            raise _nothing_stored(url)
        _make_directory(address)
    with _explained(address):
        # A pool would keep connections, and they would keep a file that is not ours open.
        engine = sa.create_engine(address, **_engine_options(address), poolclass=sa.NullPool)
        with database_lock(engine, "schema"):
            _refuse_other_programs(engine)
            if not create and not sa.inspect(engine).has_table("studies"):
                raise _nothing_stored(url)
            storage = RDBStorage(
                # Optuna fills braces in a URL, as str.format does.
                address.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}"),
                engine_kwargs=_engine_options(address),
            )
            if address.get_backend_name() == "sqlite":
                _start_transactions_as_writers(storage.engine)
    # It logs the whole statement that failed, also where we wait and try again.
    logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.ERROR)
    # It warns of what it ignores in closing a connection that has broken, which is raised as well.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    return storage


@contextmanager
def hurried() -> Iterator[None]:
    """Lets this thread wait for a locked SQLite database a second instead of a minute."""
    token = _busy_timeout.set(_HURRIED_TIMEOUT)
    try:
        yield
    finally:
        _busy_timeout.reset(token)


def same_database(storage: str, tracking: str) -> bool:
    """Tells whether two URLs lead to one database.

    Optuna and MLflow cannot share one: both own a table ``alembic_version``. Two schemas of
    one Postgres database (``?options=-csearch_path=...``) are two databases in this sense.
    """
    try:
        return _identity(make_url(storage)) == _identity(make_url(tracking))
    except (sa.exc.ArgumentError, ValueError):
        return False


def _identity(url: URL) -> tuple[object, ...]:
    backend = url.get_backend_name()
    if backend == "postgres":
        backend = "postgresql"
    if backend == "sqlite":
        return (backend, os.path.realpath(url.database or ""))
    host = url.host or str(url.query.get("host", "localhost"))
    if host in ("127.0.0.1", "::1"):
        host = "localhost"
    port = url.port or {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}.get(backend)
    return (backend, host, port, url.database or url.username, url.query.get("options"))


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise UserError(
            f"{mask(url)!r} is no database URL. Give one such as {DEFAULT_STORAGE} or"
            " postgresql://user@host/database; quote special characters of a password as"
            " urllib.parse.quote does"
        ) from None
    if address.drivername in ("postgresql", "postgres"):
        address = address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() == "sqlite" and _has_no_file(address):
        raise UserError(
            f"{mask(url)!r} names no file, but a study must outlive its process."
            f" Give a file, such as {DEFAULT_STORAGE}"
        )
    return address


def _nothing_stored(url: str) -> NothingStored:
    return NothingStored(
        f"No study is stored at {mask(url)}. Launch one first, or give the database with"
        f" --storage or {STORAGE_VARIABLE}"
    )


def _has_no_file(address: URL) -> bool:
    database = address.database or ""
    return not database or database == ":memory:" or database.startswith("file:")


def _make_directory(address: URL) -> None:
    directory = Path(address.database or "").absolute().parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The directory {directory} cannot be made ({error.strerror})."
            f" Give another place with --storage or {STORAGE_VARIABLE}"
        ) from None


def _engine_options(address: URL) -> dict[str, Any]:
    match address.get_backend_name():
        case "sqlite":
            # None: transactions are begun by us, not by Python's module.
            return {"connect_args": {"timeout": _BUSY_TIMEOUT, "isolation_level": None}}
        case "postgresql":
            # A server may be restarted between two trials: look before a connection is used.
            return {
                "connect_args": {
                    "connect_timeout": _CONNECT_TIMEOUT,
                    # A machine that is cut off answers nothing; found out within that time.
                    "keepalives_idle": _CONNECT_TIMEOUT,
                    "keepalives_interval": 5,
                    "keepalives_count": 2,
                    "tcp_user_timeout": _CONNECT_TIMEOUT * 1000,
                },
                "pool_pre_ping": True,
            }
        case _:
            return {"pool_pre_ping": True}


def _refuse_other_programs(engine: sa.Engine) -> None:
    tables = set(sa.inspect(engine).get_table_names())
    known = {*models.BaseModel.metadata.tables, "alembic_version"}
    strangers = {name for name in tables - known if not name.startswith("nnstudy_")}
    if not strangers or tables >= _OPTUNA_TABLES:
        return
    where = mask(str(engine.url))
    if strangers >= _MLFLOW_TABLES:
        raise _needs_two_databases(where)
    examples = ", ".join(sorted(strangers)[:3])
    raise UserError(
        f"The database {where} belongs to another program (it has the tables {examples})."
        " Give an empty one or one of Optuna's"
    )


def _needs_two_databases(where: str) -> UserError:
    return UserError(
        f"The database {where} is MLflow's. Optuna and MLflow need two databases, since both"
        " keep a table alembic_version: give another file, or another Postgres database or"
        " schema"
    )


def _start_transactions_as_writers(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    engine.dispose()

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={_busy_timeout.get() * 1000:.0f}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _explained(address: URL) -> Iterator[None]:
    where = address.render_as_string(hide_password=True)
    where = mask(where)
    try:
        yield
    except sa.exc.NoSuchModuleError:
        raise UserError(
            f"{where}: there is no database dialect {address.drivername!r}. Optuna can use"
            " sqlite, postgresql and mysql"
        ) from None
    except ImportError as error:
        if address.get_backend_name() == "postgresql":
            cure = "pip install 'nnstudy[postgres]'"
        else:
            cure = f"pip install {error.name or 'the driver'}"
        raise UserError(f"{where}: the database driver is missing. Install it: {cure}") from None
    except RuntimeError as error:
        raise _other_version(where, address, error) from None
    except (sa.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError) as error:
        kind = StorageAway if may_come_back(error) else UserError
        raise kind(_unusable(where, address, error)) from None


def may_come_back(error: BaseException) -> bool:
    """Tells whether time may cure what a database raised.

    A server that is gone, starts, is full or read-only, a file that is locked; not a wrong
    password or name, nor a statement that is wrong.
    """
    if isinstance(error, optuna.exceptions.StorageInternalError):
        cause = error.__cause__ or error.__context__
        return cause is None or may_come_back(cause)
    if not isinstance(error, sa.exc.DBAPIError):
        return isinstance(error, sa.exc.TimeoutError)
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if state:
        return state in _PASSING_STATES or state[:2] in _PASSING_CLASSES
    if any(words in str(error.orig) for words in _LASTING_WORDS):
        return False
    transient = (sa.exc.OperationalError, sa.exc.InterfaceError)
    return isinstance(error, transient) or bool(error.connection_invalidated)


# PostgreSQL's documentation, appendix A: connection exception, transaction rollback,
# insufficient resources, object not in prerequisite state, operator intervention, system error;
# read-only transaction and failed transaction, as in a fail-over.
_PASSING_CLASSES = ("08", "40", "53", "55", "57", "58")
_PASSING_STATES = ("25006", "25P02")
# A connection that is refused has no state.
_LASTING_WORDS = ("password", "does not exist", "no pg_hba.conf entry", "no such table")


def _other_version(where: str, address: URL, error: RuntimeError) -> UserError:
    engine = sa.create_engine(address, poolclass=sa.NullPool)
    if set(sa.inspect(engine).get_table_names()) >= _MLFLOW_TABLES:
        return _needs_two_databases(where)
    if "storage upgrade" in str(error):
        return UserError(
            f"The database {where} was made by an older Optuna than {optuna.__version__}."
            " Upgrade it: optuna storage upgrade --storage URL"
        )
    return UserError(
        f"The database {where} was made by a newer Optuna than {optuna.__version__}."
        " Upgrade Optuna: pip install -U optuna"
    )


def _unusable(where: str, address: URL, error: Exception) -> str:
    origin: BaseException = error
    while isinstance(origin, (sa.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)):
        inner = getattr(origin, "orig", None) or origin.__cause__
        if inner is None:
            break
        origin = inner
    reason = scrub(
        str(origin).strip().splitlines()[0] if str(origin) else "",
        address.render_as_string(hide_password=False),
    )
    if "not a database" in reason:
        return f"The file {address.database} is not a database. Give another one with --storage"
    if address.get_backend_name() == "sqlite":
        return (
            f"The database {where} cannot be opened for writing: {reason}. Look at the"
            f" permissions of {Path(address.database or '').absolute().parent}, or give another"
            f" place with --storage or {STORAGE_VARIABLE}"
        )
    return (
        f"The database {where} cannot be used: {reason}. Look whether the server runs and"
        " whether host, port, user, password and database name are right"
    )
