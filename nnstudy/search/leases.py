"""Leases: who works on which trial, and until when.

Optuna knows that a trial is RUNNING, not whether its worker lives. A lease says so: its owner
renews it, and when it runs out anybody may take the trial over. All leases of a database
are in a table of ours beside Optuna's, and every comparison of times uses the database's
clock, so that the clocks of the workers' machines do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.storages import RDBStorage

from nnstudy.errors import UserError
from nnstudy.search.locks import database_lock
from nnstudy.search.storage import hurried

SCHEMA_VERSION = 2

_metadata = sa.MetaData()
_leases = sa.Table(
    "nnstudy_leases",
    _metadata,
    sa.Column("trial_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("expires", sa.Float(53), nullable=False),  # seconds since 1970; 0: given back
    sa.Column("deaths", sa.Integer, nullable=False, server_default="0"),
    sa.Column("schema_version", sa.Integer, nullable=False),
)


@dataclass(frozen=True)
class LeaseInfo:
    """What is stored about the lease of a trial.

    Attributes:
        owner: The worker that holds or held it.
        token: How often the trial has been taken, by whomever.
        expires_in_seconds: Time left; not above 0 when it has run out or was given back.
        deaths: How many workers in a row have lost the trial without having got it on.
    """

    owner: str
    token: int
    expires_in_seconds: float
    deaths: int = 0


class Leases:
    """The leases of all trials in a database.

    Args:
        storage: Optuna's storage.
        owner: Name of this worker, as others are to see it (at most 255 characters).
        seconds: How long a lease holds without being renewed.

    Raises:
        UserError: The table was made by a newer version of this package.
    """

    def __init__(self, storage: RDBStorage, owner: str, seconds: float = 60.0) -> None:
        if seconds <= 0:
            raise UserError(f"A lease must hold for more than 0 seconds, got {seconds}")
        self.storage = storage
        self.owner = owner
        self.seconds = seconds
        self._make_table()

    def take(self, trial_id: int) -> Lease | None:
        """Takes the lease of a trial if it is free; of several workers one succeeds.

        Returns:
            The lease, or None where another worker holds it.
        """
        expires = _now(self.storage.engine) + self.seconds
        try:
            with self.storage.engine.begin() as connection:
                taken = connection.execute(
                    _leases.update()
                    .where(_leases.c.trial_id == trial_id)
                    .where(_leases.c.expires <= _now(self.storage.engine))
                    .ordered_values(
                        # What was given back has cost no worker its life. First, as MySQL
                        # already sees what was set before.
                        (
                            _leases.c.deaths,
                            _leases.c.deaths + sa.case((_leases.c.expires > 0, 1), else_=0),
                        ),
                        (_leases.c.token, _leases.c.token + 1),
                        (_leases.c.owner, self.owner),
                        (_leases.c.expires, expires),
                    )
                )
                found = connection.execute(
                    sa.select(_leases.c.token, _leases.c.deaths).where(
                        _leases.c.trial_id == trial_id
                    )
                ).one_or_none()
                token, deaths = found or (1, 0)
                if found is None:
                    connection.execute(
                        _leases.insert().values(
                            trial_id=trial_id,
                            token=token,
                            owner=self.owner,
                            expires=expires,
                            deaths=deaths,
                            schema_version=SCHEMA_VERSION,
                        )
                    )
                elif taken.rowcount == 0:
                    return None
        except sa.exc.IntegrityError:  # somebody else made the row in between
            return None
        return Lease(self, trial_id, token, deaths)

    def expire(self, owner: str) -> int:
        """Ends the leases of a worker that is known to be dead, so that nobody waits for them.

        Returns:
            How many there were.
        """
        now = _now(self.storage.engine)
        with self.storage.engine.begin() as connection:
            ended = connection.execute(
                _leases.update()
                .where(_leases.c.owner == owner, _leases.c.expires > now)
                .values(expires=now)
            )
        return ended.rowcount

    def all(self) -> dict[int, LeaseInfo]:
        """Returns what is stored about every trial that was ever taken, by trial id."""
        left = (_leases.c.expires - _now(self.storage.engine)).label("left")
        with self.storage.engine.connect() as connection:
            rows = connection.execute(
                sa.select(
                    _leases.c.trial_id, _leases.c.owner, _leases.c.token, left, _leases.c.deaths
                )
            ).all()
        return {
            row.trial_id: LeaseInfo(row.owner, row.token, float(row.left), row.deaths)
            for row in rows
        }

    def held(self) -> set[int]:
        """Returns the ids of the trials that a worker holds at this moment."""
        engine = self.storage.engine
        with engine.connect() as connection:
            held = sa.select(_leases.c.trial_id).where(_leases.c.expires > _now(engine))
            return set(connection.scalars(held))

    def _make_table(self) -> None:
        engine = self.storage.engine
        if not _is_current(engine):
            with database_lock(engine, "schema"):
                _metadata.create_all(engine)
                if not _is_current(engine):  # version 1 counted no deaths
                    with engine.begin() as connection:
                        connection.execute(
                            sa.text(
                                f"ALTER TABLE {_leases.name}"
                                " ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0"
                            )
                        )
        with engine.connect() as connection:
            version = connection.scalar(sa.select(sa.func.max(_leases.c.schema_version)))
        if version is not None and version > SCHEMA_VERSION:
            raise UserError(
                f"The table {_leases.name} was made by a newer nnstudy (version {version}, this"
                f" one knows {SCHEMA_VERSION}). Upgrade: pip install -U nnstudy"
            )


class LeaseLost(Exception):
    """Another worker has the trial now; whatever is done here is in vain."""


@dataclass
class Lease:
    """The right to work on a trial, until it runs out.

    Attributes:
        leases: Where it was taken.
        trial_id: Optuna's id of the trial (not its number).
        token: How often the trial has been taken, this time included; a checkpoint with
            another token was written by another worker.
        deaths: How many workers in a row have lost the trial without having got it on.
    """

    leases: Leases
    trial_id: int
    token: int
    deaths: int = 0
    _released: bool = False

    @property
    def seconds(self) -> float:
        """How long the lease holds without being renewed."""
        return self.leases.seconds

    def renew(self) -> bool:
        """Starts the time again; False when the trial was given back or taken by another.

        A lease that has run out is good again if nobody took it in the meantime.
        """
        if self._released:
            return False
        return self._update(expires=_now(self.leases.storage.engine) + self.seconds)

    def valid(self) -> bool:
        """Tells whether the trial is still ours: nobody else has taken it."""
        if self._released:
            return False
        with self.leases.storage.engine.connect() as connection:
            token = connection.scalar(
                sa.select(_leases.c.token).where(_leases.c.trial_id == self.trial_id)
            )
        return token == self.token

    def require(self) -> None:
        """Raises LeaseLost if the trial is not ours any more."""
        if not self.valid():
            raise LeaseLost

    def got_on(self) -> None:
        """Notes that the trial is further than where earlier workers lost it."""
        if self.deaths:
            self._update(deaths=0)
            self.deaths = 0

    def release(self) -> None:
        """Gives the trial back, so that anybody may take it at once."""
        self._released = True
        with hurried():  # a lease that is not given back runs out
            self._update(expires=0.0)

    def _update(self, **values: Any) -> bool:
        with self.leases.storage.engine.begin() as connection:
            changed = connection.execute(
                _leases.update()
                .where(_leases.c.trial_id == self.trial_id, _leases.c.token == self.token)
                .values(**values)
            )
        return changed.rowcount == 1


def _is_current(engine: sa.Engine) -> bool:
    inspector = sa.inspect(engine)
    return inspector.has_table(_leases.name) and "deaths" in {
        column["name"] for column in inspector.get_columns(_leases.name)
    }


def _now(engine: sa.Engine) -> sa.ColumnElement[float]:
    """The database's clock, in seconds since 1970."""
    clock = {
        # 2440587.5 is the Julian day of 1970-01-01, 0:00 UTC.
        "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
        "postgresql": "extract(epoch from clock_timestamp())::double precision",
    }.get(engine.dialect.name, "unix_timestamp(now(6))")
    return sa.literal_column(clock, sa.Float)
