"""How checkpoints and their directories are called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from nnstudy.errors import UserError

Kind = Literal["last", "best", "spaced", "cycle", "average"]

_SUFFIX = ".safetensors"
_SCORE = r"-?(?:\d+\.\d+(?:e[+-]\d+)?|inf)|nan"
_FILE_NAME = re.compile(
    rf"(?:last|(?P<kind>{'|'.join(kind for kind in get_args(Kind) if kind != 'last')})"
    rf"(?:-repeat(?P<repeat>\d{{2,}}))?"
    rf"-epoch(?P<epoch>\d{{4,}}(?:\.\d+)?)-(?P<score>{_SCORE})){re.escape(_SUFFIX)}",
    re.ASCII,
)
_DIRECTORY_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class CheckpointName:
    """A checkpoint's file name, which tells a person what is in it.

    ``last.safetensors``, ``best-epoch0012-0.98120.safetensors``, and where a trial is trained
    several times, ``best-repeat02-epoch0012-0.98120.safetensors``. The epoch and the score are
    rounded in the name; the file's metadata has them exactly.

    Attributes:
        kind: ``last``: the whole state, for going on. The others have weights alone:
            ``best``: among the best of the trial; ``spaced``: every n-th epoch; ``cycle``: at
            the low point of warm restarts; ``average``: the exponential moving average.
        epoch: Epochs completed, as a fraction where validations fall inside an epoch. None
            for ``last``.
        score: The validation score. None for ``last``.
        repeat: Which of a trial's trainings it is of, from 1; None where there is but one.
    """

    kind: Kind
    epoch: float | None = None
    score: float | None = None
    repeat: int | None = None

    def __str__(self) -> str:
        """Returns the file name."""
        if self.epoch is None or self.score is None:
            return f"{self.kind}{_SUFFIX}"
        kind = self.kind if self.repeat is None else f"{self.kind}-repeat{self.repeat:02d}"
        return f"{kind}-epoch{_epoch_text(self.epoch)}-{_score_text(self.score)}{_SUFFIX}"

    @classmethod
    def parse(cls, file_name: str) -> CheckpointName | None:
        """Returns what a file name says, or None if it is not a checkpoint's."""
        match = _FILE_NAME.fullmatch(file_name)
        if match is None:
            return None
        if match["kind"] is None:
            return cls("last")
        kind: Kind = match["kind"]  # type: ignore[assignment]  # the pattern has these alone
        repeat = int(match["repeat"]) if match["repeat"] else None
        return cls(kind, float(match["epoch"]), float(match["score"]), repeat)


def trial_directory(directory: Path, study: str, stage: str, trial: int) -> Path:
    """Returns where a trial's checkpoints live: ``<directory>/<study>/<stage>/trial-00012``.

    Raises:
        UserError: If a name could lead out of the directory.
    """
    for what, name in (("study", study), ("stage", stage)):
        if not _DIRECTORY_NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot be the name of a {what}: it may have letters (a-z, A-Z),"
                " digits, '-', '_' and '.', and must not start with '.'"
            )
    return directory / study / stage / f"trial-{trial:05d}"


def _epoch_text(epoch: float) -> str:
    whole, _, fraction = f"{epoch:011.6f}".partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _score_text(score: float) -> str:
    plain = score == 0 or 1e-3 <= abs(score) < 1e6 or score != score or abs(score) == float("inf")
    return f"{score:.5f}" if plain else f"{score:.5e}"
