"""What is away for a while: databases, servers, disks; waited for, or tried again later."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import tenacity
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from nnstudy.errors import UserError
from nnstudy.search.events import Emit, Event
from nnstudy.search.interruption import Interrupted, Interruption
from nnstudy.search.locks import LockStuck
from nnstudy.search.storage import StorageAway, hurried, may_come_back
from nnstudy.tracking import TrackingAway
from nnstudy.training.checkpoints import CheckpointError

T = TypeVar("T")

_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 5.0
_REST_SECONDS = 1.0
_REST_FACTOR = 9.0


class Paused(UserError):
    """Something was away for longer than is waited for; what was done is kept."""


def is_away(error: BaseException) -> bool:
    """Tells whether an error is one that time may cure: a server or a disk, not what was asked.

    Those are: a database that refuses connections, breaks them off, is locked or full; a lock
    that somebody else holds; a checkpoint that the system did not let us write; MLflow.
    """
    if isinstance(error, CheckpointError):
        return isinstance(error.__cause__, OSError)
    return isinstance(error, TrackingAway) or is_storage_away(error)


def is_storage_away(error: BaseException) -> bool:
    """Tells whether an error is Optuna's database being away, or a lock that is held."""
    return isinstance(error, StorageAway | LockStuck) or may_come_back(error)


def culprit(error: BaseException | None) -> str:
    """Returns what is away, as the subject of a sentence."""
    if isinstance(error, CheckpointError):
        return "the place of the checkpoints"
    return "MLflow" if isinstance(error, TrackingAway) else "the database"


def first_line(error: BaseException) -> str:
    """Returns what an error says in its first line; Optuna's says nothing, but its cause does."""
    told = error.__cause__ if isinstance(error, StorageInternalError) else None
    return (str(told or error) or type(error).__name__).splitlines()[0]


@contextmanager
def database_errors_explained() -> Iterator[None]:
    """Says what to do where the database goes away and nothing is left to wait for.

    Raises:
        Paused: In place of what Optuna or SQLAlchemy raised.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        if not may_come_back(error):
            raise
        raise Paused(
            f"the database is away ({first_line(error)}). What was done is kept: launch again to"
            " go on"
        ) from error


@dataclass
class Patience:
    """Deals with what is away: waits for it, or does without it for a while.

    Attributes:
        seconds: How long is waited, at most.
        interruption: Ends the waiting.
        emit: Hears what is away, and when it is back.
        back_at: When something was back last, on the monotonic clock.
    """

    seconds: float
    interruption: Interruption
    emit: Emit
    back_at: float = -math.inf
    _away: dict[str, float] = field(default_factory=dict)

    def wait_for(
        self,
        what: str,
        operation: Callable[[], T],
        is_away: Callable[[BaseException], bool] = is_away,
    ) -> T:
        """Runs an operation, again and again while something that it needs is away.

        Args:
            what: What it needs, as the subject of a sentence: ``the database``; where that is
                several things, nothing, and the error tells which.
            operation: May be run several times.
            is_away: Tells which errors are waited for.

        Raises:
            Paused: It was away for longer than is waited.
            Interrupted: An end was asked for meanwhile.
        """
        told = False

        def tell(state: tenacity.RetryCallState) -> None:
            nonlocal told
            if not told and state.attempt_number > 1 and state.outcome is not None:
                told = True
                error = state.outcome.exception()
                self._tell_away(what or culprit(error), error, "it is waited for")

        in_vain = tenacity.stop_after_delay(self.seconds)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_away),
            wait=tenacity.wait_random_exponential(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS),
            stop=lambda state: self.interruption.requested or in_vain(state),
            sleep=self.interruption.wait,
            before_sleep=tell,
            reraise=True,
        )
        try:
            result = retrying(operation)
        except Exception as error:
            if not is_away(error):
                raise
            if self.interruption.requested:
                raise Interrupted from error
            raise Paused(
                f"{what or culprit(error)} was away for {self.seconds:g} seconds ({first_line(error)}), so the"
                " study pauses. What was done is kept: launch it again to go on"
            ) from error
        if told:
            self._tell_back(what or "what was away")
        return result

    def attempt(
        self,
        what: str,
        operation: Callable[[], T],
        is_away: Callable[[BaseException], bool] = is_away,
    ) -> T | None:
        """Runs an operation once, without waiting for anything, in the midst of a training.

        While something is away, it is tried so rarely that the training loses a tenth of its
        time at most.

        Args:
            what: What it needs, as the subject of a sentence.
            operation: Is run now, or, after a failure a moment ago, not at all.
            is_away: Tells which errors are tried again later.

        Returns:
            What it returned; None where it failed or was not run.
        """
        now = time.monotonic()
        if now < self._away.get(what, now):
            return None
        try:
            with hurried():
                result = operation()
        except Exception as error:
            if not is_away(error):
                raise
            if what not in self._away:
                self._tell_away(what, error, "training goes on, and what was not written waits")
            tried = time.monotonic()
            self._away[what] = tried + max(_REST_SECONDS, _REST_FACTOR * (tried - now))
            return None
        if self._away.pop(what, None) is not None:
            self._tell_back(what)
        return result

    def _tell_away(self, what: str, error: BaseException | None, so: str) -> None:
        reason = first_line(error) if error else ""
        self.emit(Event("warning", {"text": f"{what} is away ({reason}): {so}"}))

    def _tell_back(self, what: str) -> None:
        self.back_at = time.monotonic()
        self.emit(Event("message", {"text": f"{what} is back"}))
