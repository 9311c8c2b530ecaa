"""Directories that need not exist yet, and the file systems they are on."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_NETWORK = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "davfs",
        "fuse.glusterfs",
        "fuse.juicefs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "orangefs",
        "smb2",
        "smb3",
        "smbfs",
        "virtiofs",
        "vboxsf",
    }
)


def is_on_network(path: Path) -> str | None:
    """Returns the kind of the network file system that a path is or would be on, or None."""
    kind = _kind(path)
    return kind if kind in _NETWORK or kind.startswith("nfs") else None


def is_same_filesystem(one: Path, other: Path) -> bool:
    """Tells whether two paths are or would be on one file system, and so run full together."""
    return nearest_directory(one).stat().st_dev == nearest_directory(other).stat().st_dev


def free_bytes(path: Path) -> int:
    """Returns how much this user can still write where a path is or would be."""
    return shutil.disk_usage(nearest_directory(path)).free


def size(number: int) -> str:
    """Returns bytes in words: ``75.4 GB``."""
    for unit, bytes_ in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= bytes_:
            return f"{number / bytes_:.3g} {unit}"
    return f"{number / 1e3:.3g} kB"


def nearest_directory(path: Path) -> Path:
    """Returns a directory, or the nearest one above it that exists."""
    path = path.expanduser().absolute()
    return next(parent for parent in (path, *path.parents) if parent.is_dir())


@contextmanager
def scratch_directory(path: Path) -> Iterator[Path]:
    """Makes a directory for a test in ``path``, or where that would be made, and removes it.

    Raises:
        OSError: Nothing can be made there.
    """
    for parent in (path, *path.parents):
        if parent.exists() and not parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(parent))
    with tempfile.TemporaryDirectory(
        prefix=".nnstudy-doctor-", dir=nearest_directory(path)
    ) as directory:
        yield Path(directory)


def _kind(path: Path) -> str:
    """Returns the kind of the file system with the longest mount point above a path."""
    resolved = nearest_directory(path).resolve()
    kinds = {
        len(mount.mountpoint): mount.fstype
        for mount in psutil.disk_partitions(all=True)
        if resolved.is_relative_to(mount.mountpoint)
    }
    return kinds[max(kinds)] if kinds else ""
