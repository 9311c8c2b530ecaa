"""The one exception for what a user can put right."""

from __future__ import annotations


class UserError(Exception):
    """Something is wrong that the user can put right.

    The message says what is wrong and what to do about it. The command line prints it
    without a traceback and ends with exit code 2; every other exception is a defect of
    ours and keeps its traceback.
    """
