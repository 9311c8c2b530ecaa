"""What is raised when a checkpoint cannot be written or read."""

from __future__ import annotations

from nnstudy.errors import UserError


class CheckpointError(UserError):
    """A checkpoint cannot be written, or a file is not a checkpoint that can be read.

    The message names the file. Where the system refused, ``__cause__`` is its ``OSError``.
    """
