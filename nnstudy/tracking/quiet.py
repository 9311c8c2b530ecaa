"""Keeps other libraries' chatter off the terminal while they work for us."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LEVELS = {
    "alembic": logging.WARNING,  # a line for each of a hundred migrations
    "mlflow.models.signature": logging.WARNING,  # what it infers and what it does not
    "mlflow.pyfunc": logging.WARNING,
    "mlflow.store.artifact.artifact_repo": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,  # a traceback for each failed write
    "urllib3.connectionpool": logging.ERROR,  # a line for each retry
}


@contextmanager
def quietly() -> Iterator[None]:
    """Silences what MLflow and its helpers log about things that we report ourselves."""
    before = {name: logging.getLogger(name).level for name in _LEVELS}
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
