"""Whether checkpoints can be written, and where data files are."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from nnstudy.doctor.check import Check, ok, problem, warning
from nnstudy.doctor.filesystems import (
    free_bytes,
    is_on_network,
    is_same_filesystem,
    nearest_directory,
    scratch_directory,
    size,
)
from nnstudy.training.checkpoints import CheckpointError, read, write

_CHECKPOINTS = "checkpoints"
_DATA = "data"

_ELEMENTS = 250_000  # a megabyte, as a small network has it
_SLOW_MS = 1000.0
_LITTLE_ROOM = 1e9
_NO_ROOM = 50e6


def check_checkpoints(directory: Path, beside: Mapping[str, Path]) -> Iterator[Check]:
    """Yields whether checkpoints can be written to a directory, which need not be there yet.

    Args:
        directory: Where all workers are to keep checkpoints.
        beside: Database files by name, which a full disk would stop too.
    """
    directory = directory.expanduser().absolute()
    try:
        with scratch_directory(directory) as scratch:
            milliseconds = _try(scratch / "probe.safetensors")
    except (CheckpointError, OSError) as error:
        reason = error if isinstance(error, CheckpointError) else error.strerror
        yield problem(
            _CHECKPOINTS,
            f"{directory} cannot be written: {reason}",
            "look at its permissions and its disk, or give another place with --checkpoints",
        )
        return
    there = "" if directory.is_dir() else ", made by the first launch"
    told = f"{directory}{there}: written and read, a megabyte takes {milliseconds:.0f} ms"
    if milliseconds > _SLOW_MS:
        yield warning(_CHECKPOINTS, told, "give a quicker disk with --checkpoints")
    else:
        yield ok(_CHECKPOINTS, told)
    yield _room(directory, beside)


def _try(file: Path) -> float:
    """Writes and reads a checkpoint as a trial does; returns the milliseconds of the write."""
    state = {"network": {"weight": torch.arange(_ELEMENTS, dtype=torch.float32)}}
    began = time.perf_counter()
    write(file, state)
    milliseconds = (time.perf_counter() - began) * 1000
    if not torch.equal(read(file)[0]["network"]["weight"], state["network"]["weight"]):
        raise CheckpointError("what is read is not what was written")
    return milliseconds


def _room(directory: Path, beside: Mapping[str, Path]) -> Check:
    free = free_bytes(directory)
    kind = is_on_network(directory)
    shared = [name for name, file in beside.items() if is_same_filesystem(directory, file.parent)]
    told = f"{size(free)} are free there" + (f", on the network ({kind})" if kind else "")
    if shared:
        told += f", on the disk that also has {' and '.join(shared)}"
    if free < _NO_ROOM:
        return problem(_CHECKPOINTS, told, "make room, or give another disk with --checkpoints")
    if free < _LITTLE_ROOM:
        return warning(_CHECKPOINTS, told, "make room, or limit the study with --disk-limit")
    return ok(_CHECKPOINTS, told)


def check_data(directory: Path) -> Check:
    """Returns whether there is a directory of data files; not every study needs one."""
    directory = directory.expanduser().absolute()
    if not directory.exists():
        return ok(
            _DATA,
            f"{directory} is not there; only studies that read files need it (--data-dir)",
        )
    try:
        entries = sum(1 for _ in directory.iterdir())
    except OSError as error:
        return problem(
            _DATA,
            f"{directory} cannot be read: {error.strerror}",
            "look at its permissions, or give another place with --data-dir",
        )
    free = size(free_bytes(nearest_directory(directory)))
    return ok(_DATA, f"{directory} has {entries} entries, {free} are free there")
