"""Writing a file so that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path

STALE_SECONDS = 600.0
_SUFFIX = ".tmp"


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that survives a crash of the process and of the machine.

    The content goes to a temporary file in the same directory, is forced to the disk, and
    takes the place of ``path`` in one step; then the directory is forced to the disk too.
    Whatever fails, an old file at ``path`` stays as it was and no temporary file is left.

    Raises:
        OSError: If the disk is full, or the directory cannot be written to.
    """
    # Not tempfile: its files can be read by their owner only, and workers share checkpoints.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_SUFFIX}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _force_to_disk(path.parent)


def remove_stale_temporaries(directory: Path) -> None:
    """Removes what processes that were killed while writing have left in or below a directory.

    Only files older than ten minutes go, since another process may be writing one now.
    """
    latest = time.time() - STALE_SECONDS
    for temporary in directory.rglob(f".*{_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            if temporary.stat().st_mtime < latest:
                temporary.unlink()


def _force_to_disk(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
