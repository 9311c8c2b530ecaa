"""A SQLite file that two programs of ours write to: can it be written, and who holds it?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import psutil

from nnstudy.doctor.check import Check, problem, warning
from nnstudy.doctor.filesystems import is_on_network

_BUSY_SECONDS = 3.0
"""A write takes milliseconds; who holds the file for longer than this is stuck."""


def is_stored(file: Path) -> bool:
    """Tells whether a file has anything in it."""
    return file.is_file() and file.stat().st_size > 0


def check_file(what: str, file: Path) -> Iterator[Check]:
    """Yields what is wrong with a SQLite file, be it there already or not.

    Args:
        what: Whose file it is.
        file: The file.
    """
    if kind := is_on_network(file.parent):
        yield warning(
            what,
            f"{file} is on a network file system ({kind}), where SQLite's locks and its"
            " write-ahead log hold for the processes of one machine only",
            "run all workers on one machine, or use PostgreSQL",
        )
    if file.is_dir():
        yield problem(what, f"{file} is a directory", "give the path of a file")
    elif is_stored(file):
        yield from _check_writing(what, file)


def _check_writing(what: str, file: Path) -> Iterator[Check]:
    address = f"file:{quote(str(file))}?mode=rw"
    try:
        with closing(
            sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
        ) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        if "locked" not in str(error):
            yield problem(
                what,
                f"{file} cannot be written: {error}",
                f"look at the permissions of {file} and of its directory, or give another file",
            )
            return
        holders = ", ".join(_holders(file)) or "of another user or machine"
        yield problem(
            what,
            f"{file} has been locked for more than {_BUSY_SECONDS:g} seconds. Processes that"
            f" have it open: {holders}",
            "end the one that is stopped or hangs",
        )


def _holders(file: Path) -> Iterator[str]:
    """Yields the processes that have a file open, of those that this user may look at."""
    wanted = {str(file.resolve()) + suffix for suffix in ("", "-wal", "-shm")}
    for process in psutil.process_iter(["pid", "name"]):
        with suppress(psutil.Error):
            if process.pid != psutil.Process().pid and wanted & {
                opened.path for opened in process.open_files()
            }:
                # Not its command line, which may show a password.
                yield f"{process.pid} ({process.name()}, {process.status()})"
