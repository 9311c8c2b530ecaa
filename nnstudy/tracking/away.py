"""MLflow out of reach, said in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nnstudy.errors import UserError
from nnstudy.tracking.buffer import cut
from nnstudy.tracking.location import Location
from nnstudy.tracking.quiet import quietly

_LONGEST_REASON = 300


class TrackingAway(UserError):
    """MLflow's server or database did not do what was asked."""


@contextmanager
def explained(location: Location) -> Iterator[None]:
    """Makes errors of MLflow and of its database say what to look at.

    Raises:
        TrackingAway: MLflow or its database raised.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with quietly():
            yield
    except (MlflowException, SQLAlchemyError) as error:
        what = "server" if location.is_server else "database"
        # of a chain of network errors the last one says what happened
        reason = location.scrub(error).rpartition("Caused by ")[2]
        raise TrackingAway(
            f"The MLflow tracking {what} {location.masked_uri} did not do what was asked:"
            f" {cut(reason, _LONGEST_REASON)}. Is it running, and is the address right?"
        ) from None
