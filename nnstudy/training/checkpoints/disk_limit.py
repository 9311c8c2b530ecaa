"""A limit on the disk space of a study: what goes first, and what an ensemble could need."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from nnstudy.errors import UserError
from nnstudy.training.checkpoints.atomic_write import remove_stale_temporaries
from nnstudy.training.checkpoints.names import CheckpointName

PROTECTED_TRIALS = 10
"""Trials whose best weights go last: the usual size of an ensemble."""

_UNITS = {"": 1} | {
    f"{prefix}{suffix}": base**power
    for suffix, base in (("", 1000), ("b", 1000), ("ib", 1024))
    for power, prefix in enumerate(("k", "m", "g", "t"), start=1)
}
_UNITS["b"] = 1
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class StoredFile:
    """A checkpoint on the disk.

    Attributes:
        path: The file, in its trial's directory.
        name: What its name says.
        size: Its bytes.
    """

    path: Path
    name: CheckpointName
    size: int

    @property
    def trial(self) -> Path:
        """The directory of its trial."""
        return self.path.parent


def enforce_limit(
    directory: Path,
    limit: int,
    running: Collection[Path],
    direction: Literal["minimize", "maximize"],
) -> list[Path]:
    """Removes checkpoints below a directory until they fit a limit, the least useful first.

    Any worker may call it at any time; what another one has removed already is passed over.

    Args:
        directory: A study's directory of checkpoints.
        limit: Bytes that may stay.
        running: Directories of the trials that are running, whose last states are needed.
        direction: Whether higher scores are better.

    Returns:
        The removed files, in the order of their removal.
    """
    remove_stale_temporaries(directory)
    dropped = choose_dropped(_stored_files(directory), limit, running, direction)
    for file in dropped:
        with contextlib.suppress(OSError):  # the next trial's end tries again
            file.path.unlink(missing_ok=True)
    return [file.path for file in dropped]


def choose_dropped(
    files: Collection[StoredFile],
    limit: int,
    running: Collection[Path],
    direction: Literal["minimize", "maximize"],
) -> list[StoredFile]:
    """Returns the files to remove, in their order, so that the rest takes ``limit`` bytes.

    First the last states of finished trials; then weights of spaced epochs and of cycles; then
    the best and averaged weights; at the very end the best weights of the ten best trials.
    Among equals the worst trial's go first, and in a trial its worst. The last states of
    running trials always stay, even where the limit cannot be held then.
    """
    ranks = _ranks(files, direction)
    sign = 1.0 if direction == "maximize" else -1.0

    def usefulness(file: StoredFile) -> tuple[int, int, float, str]:
        rank = ranks[file.trial]
        if file.name.kind == "last":
            tier = 0
        elif file.name.kind in ("spaced", "cycle"):
            tier = 1
        else:
            tier = 3 if file.name.kind == "best" and rank < PROTECTED_TRIALS else 2
        return tier, -rank, _comparable(file.name.score, sign), str(file.path)

    running = set(running)
    removable = (file for file in files if file.name.kind != "last" or file.trial not in running)
    excess = sum(file.size for file in files) - limit
    dropped = []
    for file in sorted(removable, key=usefulness):
        if excess <= 0:
            break
        dropped.append(file)
        excess -= file.size
    return dropped


def parse_size(text: str) -> int:
    """Returns the bytes that a text such as ``2GB``, ``1.5 GiB``, ``500M`` or ``4096`` means.

    KB, MB, GB, TB (or K, M, G, T) are powers of 1000; KiB, MiB, GiB, TiB of 1024. Capitals do
    not matter.

    Raises:
        UserError: If it is not a size.
    """
    match = _SIZE.fullmatch(text)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise UserError(f"{text!r} is not a size; write for example 500MB, 2GB or 1.5GiB")
    return int(float(match[1]) * unit)


def _stored_files(directory: Path) -> list[StoredFile]:
    files = []
    # Unlike rglob, walk passes over directories that vanish meanwhile.
    for folder, _, file_names in os.walk(directory):
        for file_name in file_names:
            name = CheckpointName.parse(file_name)
            if name is not None:
                path = Path(folder) / file_name
                with contextlib.suppress(FileNotFoundError):  # another worker was quicker
                    files.append(StoredFile(path, name, path.stat().st_size))
    return files


def _ranks(files: Iterable[StoredFile], direction: str) -> dict[Path, int]:
    """Returns each trial's place by its best score, 0 for the best."""
    sign = 1.0 if direction == "maximize" else -1.0
    by_trial = groupby(sorted(files, key=lambda file: file.trial), key=lambda file: file.trial)
    scores = {
        trial: max(_comparable(file.name.score, sign) for file in group)
        for trial, group in by_trial
    }
    ordered = sorted(scores, key=lambda trial: (-scores[trial], trial))
    return {trial: rank for rank, trial in enumerate(ordered)}


def _comparable(score: float | None, sign: float) -> float:
    """Returns a score of which more is better; no score, or NaN, is the worst."""
    return float("-inf") if score is None or score != score else sign * score
