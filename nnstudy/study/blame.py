"""An exception from a user's file in a few lines: where, what line, what happened."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

from nnstudy.errors import UserError


def blame(error: BaseException, is_own: Callable[[Path], bool]) -> str:
    """Returns the exception and the lines of the user's files that led to it.

    Args:
        error: What was raised.
        is_own: Says of a file whether it is the user's. Frames of other files are left out.

    Returns:
        ``NameError: name 'unit' is not defined`` and below it a line for each frame, the
        last call last: ``  studies/mine.py, line 12: layers = [unit] * 2``.
    """
    # What we say in our words was found where its cause was.
    found = error.__cause__ if isinstance(error, UserError) and error.__cause__ else error
    frames = [
        (frame.filename, frame.lineno, frame.line)
        for frame in traceback.extract_tb(found.__traceback__)
        if os.path.isfile(frame.filename) and is_own(Path(frame.filename))
    ]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno, (error.text or "").strip()))
    lines = [f"  {_short(file)}, line {number}: {text}" for file, number, text in frames]
    return "\n".join([_what(error), *lines])


def _what(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    what = error.msg if isinstance(error, SyntaxError) else str(error)
    if isinstance(error, ModuleNotFoundError):
        what += " (neither installed nor beside the study file)"
    return f"{type(error).__name__}: {what}"


def _short(file: str) -> str:
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file
