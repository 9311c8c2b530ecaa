"""A PostgreSQL server: its version, the connections it has left, and its clock."""

from __future__ import annotations

import time
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from nnstudy.doctor.check import Check, ok, problem, warning

_CONNECT_SECONDS = 10
_FEW_CONNECTIONS = 10


def engine_of(url: str) -> sa.Engine:
    """Returns an engine that keeps no connection; ``postgresql://`` means psycopg 3."""
    address = make_url(url)
    if address.drivername in ("postgresql", "postgres"):
        address = address.set(drivername="postgresql+psycopg")
    return sa.create_engine(
        address, poolclass=sa.NullPool, connect_args={"connect_timeout": _CONNECT_SECONDS}
    )


def check_server(what: str, engine: sa.Engine) -> Iterator[Check]:
    """Yields what a PostgreSQL server tells of itself.

    Args:
        what: Whose server it is.
        engine: Connects to it.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: It cannot be reached.
    """
    with engine.connect() as connection:
        version = connection.scalar(sa.text("SHOW server_version"))
        most, reserved, taken = connection.execute(
            sa.text(
                "SELECT current_setting('max_connections')::int,"
                " current_setting('superuser_reserved_connections')::int,"
                " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
            )
        ).one()
        may_create = connection.scalar(
            sa.text("SELECT has_schema_privilege(current_schema(), 'CREATE')")
        )
        has_tables = bool(sa.inspect(connection).get_table_names())
    yield ok(what, f"PostgreSQL {version}")
    left = most - reserved - taken
    told = f"{left} of the server's {most} connections are free"
    if left < _FEW_CONNECTIONS:
        yield warning(
            what,
            f"{told}; a worker needs up to 3",
            "run fewer workers, end idle clients, or raise max_connections",
        )
    else:
        yield ok(what, told)
    if not may_create and not has_tables:
        yield problem(
            what,
            "this user may not make tables in the database",
            "have the owner of the schema GRANT CREATE ON SCHEMA to the user",
        )


def check_clock(what: str, engine: sa.Engine) -> Check:
    """Returns how far a server's clock is from this machine's, which need not be set right.

    Leases are measured by the database's clock alone.
    """
    with engine.connect() as connection:
        clock = "extract(epoch from clock_timestamp())"
        if engine.dialect.name != "postgresql":
            clock = "unix_timestamp(now(6))"
        connection.execute(sa.text("SELECT 1"))
        before = time.time()
        told = float(connection.execute(sa.text(f"SELECT {clock}")).scalar_one())
        ahead = told - (before + time.time()) / 2
    way = "ahead of" if ahead > 0 else "behind"
    return ok(
        what,
        f"its clock is {abs(ahead):.3f} s {way} this machine's; leases use the database's alone",
    )
