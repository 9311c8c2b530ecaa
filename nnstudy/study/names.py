"""Which names studies and stages may have."""

from __future__ import annotations

import re

from nnstudy.errors import UserError

MAX_LENGTH = 100
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def validate_name(name: str, kind: str = "study") -> str:
    """Returns ``name`` if it can be the name of a study or a stage.

    The name becomes a file name, an argument on the command line, an MLflow experiment and
    a part of Optuna's study name, hence letters, digits, ``-``, ``_`` and ``.`` alone.

    Args:
        name: The name to check.
        kind: What is named, for the message: ``"study"`` or ``"stage"``.

    Raises:
        UserError: If it cannot be a name.
    """
    if not isinstance(name, str) or not name:
        raise UserError(f"A {kind} needs a name, got {name!r}")
    if len(name) > MAX_LENGTH:
        raise UserError(
            f"The {kind} name {name[:20] + '…'!r} has {len(name)} characters:"
            f" {MAX_LENGTH} are the most"
        )
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be the name of a {kind}: it may have letters (a-z, A-Z), digits,"
            " '-', '_' and '.', and must not start with '.' or '-'"
        )
    if name.endswith(".py"):
        raise UserError(
            f"{name!r} cannot be the name of a {kind}: what ends in '.py' is read as a path"
        )
    return name
