"""Optuna at work behind the scenes, where nobody needs to hear of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keeps what Optuna logs, short of errors, and every warning from being shown.

    Every one: which are Optuna's cannot be told by where they seem to come from. So no code of
    the user's should run inside.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
