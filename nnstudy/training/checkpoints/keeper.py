"""Deciding which checkpoints of one trial are kept, and when they are written."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from nnstudy.errors import UserError
from nnstudy.training.checkpoints.atomic_write import remove_stale_temporaries
from nnstudy.training.checkpoints.errors import CheckpointError
from nnstudy.training.checkpoints.files import read_metadata, write
from nnstudy.training.checkpoints.names import CheckpointName, Kind
from nnstudy.training.record import Record


@dataclass
class _Kept:
    """Weights that are worth a file.

    Attributes:
        kind: Kind of the checkpoint.
        epoch: Epochs completed.
        score: The validation score, exactly.
        repeat: Which of the trial's trainings, or None.
        pending: The state and the metadata while they wait for being written.
    """

    kind: Kind
    epoch: float
    score: float
    repeat: int | None = None
    pending: tuple[dict[str, Any], dict[str, str]] | None = None

    @property
    def file_name(self) -> str:
        return str(CheckpointName(self.kind, self.epoch, self.score, self.repeat))


class Keeper:
    """Keeps the checkpoints of one trial in a directory.

    Call ``record`` once a validation, and ``flush`` when the trial ends or is interrupted. So
    that short epochs are not drowned in writes, what is worth keeping is copied in memory and
    written about once a second. The last state is written after all weights that came before
    it, and a file goes only when its better is safe on the disk: a crash at any moment leaves
    nothing missing that the last state presupposes.

    What is kept:

    - ``last``: the whole state, for going on;
    - ``best``: the weights of the ``best`` best validations. Of two equal scores the earlier
      counts as the better one; NaN is never good;
    - ``average``: the averaged weights of the best validation of theirs, where there are any;
    - ``spaced``: the weights of every ``spaced``-th epoch;
    - ``cycle``: the weights at the low points of warm restarts.

    Where a trial is trained several times, all of this is kept of each of its trainings.

    A keeper that is made where another one left off finds the files and goes on; an epoch that
    is trained again is not kept again.
    """

    def __init__(
        self,
        directory: Path,
        *,
        direction: Literal["minimize", "maximize"],
        best: int = 1,
        spaced: int = 0,
        cycles: bool = True,
        average: bool = True,
        interval: float = 1.0,
        metadata: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Looks for what is there already.

        Args:
            directory: The trial's own directory, see ``trial_directory``. Made when needed.
            direction: Whether higher scores are better.
            best: How many of the best validations are kept.
            spaced: Every how many epochs weights are kept; 0: none.
            cycles: Whether the low points of warm restarts are kept.
            average: Whether averaged weights are kept.
            interval: Seconds between the end of one write and the next.
            metadata: Strings that every file shall carry (study, trial, digest of the data).
            clock: Returns seconds.

        Raises:
            UserError: If a number is out of range.
            OSError: If the directory cannot be read.
        """
        if direction not in ("minimize", "maximize"):
            raise UserError(f"direction must be 'minimize' or 'maximize', got {direction!r}")
        if best < 1:
            raise UserError(f"at least the best checkpoint must be kept, got best={best}")
        if spaced < 0 or interval < 0:
            raise UserError(f"spaced={spaced} and interval={interval} must not be negative")
        self.directory = directory
        self._last = directory / str(CheckpointName("last"))
        self._direction = direction
        self._limits: dict[Kind, int] = {"best": best, "average": int(average)}
        self._spaced = spaced
        self._cycles = cycles
        self._interval = interval
        self._metadata = dict(metadata or {})
        self._clock = clock
        self._last_written = clock()
        self._state: Callable[[], Mapping[str, Any]] | None = None
        self._superseded: set[str] = set()
        self._kept = self._find()
        for kind in self._limits:
            for repeat in {kept.repeat for kept in self._kept}:
                self._drop_worse(kind, repeat)

    def record(
        self,
        record: Record,
        score: float,
        weights: Callable[[], Mapping[str, Tensor]] | None,
        average: Callable[[], Mapping[str, Tensor]] | None,
        state: Callable[[], Mapping[str, Any]] | None,
        *,
        average_score: float | None = None,
        repeat: int | None = None,
    ) -> None:
        """Takes note of a validation, and writes if the last time is long enough ago.

        Args:
            record: What is known after the validation.
            score: The score that the trial is judged by.
            weights: Returns the network's state dictionary. Called, and copied, only where the
                weights are worth keeping. None for a training loop that does not show its
                network: only its state is kept.
            average: Returns the averaged network's; None if there is no average.
            state: Returns the whole state, for going on; its weights stand under ``network``,
                averaged ones under ``average/network``. Called when it is written, which may
                be at a later ``flush``. None where a training cannot be continued.
            average_score: The score of the averaged weights; None: taken to be as ``score``.
            repeat: Which of the trial's trainings, from 1; None where there is but one.

        Raises:
            CheckpointError: If it cannot be written. What was to be written stays pending.
        """
        self._state = state
        if weights is not None:
            self._keep_weights(record, score, weights, repeat)
        if average is not None:
            judged = score if average_score is None else average_score
            if self._is_among_best("average", record.epoch, judged, repeat):
                self._keep("average", record, judged, average, repeat)
        if self._clock() - self._last_written >= self._interval:
            self.flush()

    def _keep_weights(
        self,
        record: Record,
        score: float,
        weights: Callable[[], Mapping[str, Tensor]],
        repeat: int | None,
    ) -> None:
        if self._is_among_best("best", record.epoch, score, repeat):
            self._keep("best", record, score, weights, repeat)
        spaced = self._latest("spaced", repeat)
        if self._spaced and record.epoch // self._spaced > spaced // self._spaced:
            self._keep("spaced", record, score, weights, repeat)
        if self._cycles and record.low_point and record.epoch > self._latest("cycle", repeat):
            self._keep("cycle", record, score, weights, repeat)

    def flush(self, state: Callable[[], Mapping[str, Any]] | None = None) -> None:
        """Writes all that is pending, and the last state.

        Args:
            state: Returns the whole state, in place of what the latest ``record`` was given: a
                state inside an epoch, say, also before any record. Later calls write it too,
                until there is another. None: as the latest ``record`` or ``flush`` had it.

        Raises:
            CheckpointError: If it cannot be written. What was to be written stays pending.
        """
        if state is not None:
            self._state = state
        try:
            for kept in self._kept:
                if kept.pending is not None:
                    write(self.directory / kept.file_name, *kept.pending)
                    kept.pending = None
            self._remove_superseded()
            if self._state is not None:
                write(self._last, self._state(), {**self._metadata, "kind": "last"})
        finally:
            self._last_written = self._clock()

    def clear(self) -> None:
        """Removes every file of the trial.

        Raises:
            CheckpointError: If one cannot be removed.
        """
        for path in self.paths():
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise CheckpointError(f"cannot remove the checkpoint {path}: {error}") from error

    def discard_last(self) -> None:
        """Removes the last state, as a finished trial does not need it.

        A ``flush`` after it writes weights alone, which saves writing the state in vain.

        Raises:
            CheckpointError: If it cannot be removed.
        """
        self._state = None
        _remove(self._last)

    def best_path(self, repeat: int | None = None) -> Path | None:
        """Returns the file of a training's best weights, of those that are written."""
        return self._best_written("best", repeat)

    def average_path(self, repeat: int | None = None) -> Path | None:
        """Returns the file of a training's best averaged weights, of those that are written."""
        return self._best_written("average", repeat)

    def _best_written(self, kind: Kind, repeat: int | None) -> Path | None:
        written = (kept for kept in self._ranked(kind, repeat) if kept.pending is None)
        paths = (self.directory / kept.file_name for kept in written)
        # One may be missing: a limit on disk space can have taken it.
        return next((path for path in paths if path.exists()), None)

    @property
    def last_path(self) -> Path | None:
        """The file to go on from, or None if there is none."""
        return self._last if self._last.exists() else None

    def paths(self) -> list[Path]:
        """Returns the files of the trial that are on the disk, sorted by name."""
        return sorted(path for path in self.directory.glob("*") if CheckpointName.parse(path.name))

    def _find(self) -> list[_Kept]:
        """Returns what earlier keepers left; files that cannot be read count for nothing."""
        remove_stale_temporaries(self.directory)
        found = []
        for path in self.paths():
            name = CheckpointName.parse(path.name)
            if name is None or name.epoch is None:
                continue
            try:
                metadata = read_metadata(path)
                epoch, score = float(metadata["epoch"]), float(metadata["score"])
            except (CheckpointError, KeyError, ValueError):
                continue
            found.append(_Kept(name.kind, epoch, score, name.repeat))
        return found

    def _is_among_best(self, kind: Kind, epoch: float, score: float, repeat: int | None) -> bool:
        limit = self._limits[kind]
        ranked = self._ranked(kind, repeat)
        if limit == 0 or score != score or any(kept.epoch == epoch for kept in ranked):
            return False
        return len(ranked) < limit or self._order(score) < self._order(ranked[limit - 1].score)

    def _keep(
        self,
        kind: Kind,
        record: Record,
        score: float,
        weights: Callable[[], Mapping[str, Tensor]],
        repeat: int | None,
    ) -> None:
        network = {name: _copy(tensor) for name, tensor in weights().items()}
        state: dict[str, Any] = {"average": {"network": network}}
        if kind != "average":
            state = {"network": network}
        metadata = {
            **self._metadata,
            "kind": kind,
            "epoch": repr(float(record.epoch)),
            "score": repr(float(score)),
            "record": json.dumps(record.to_dict()),
        }
        if repeat is not None:
            metadata["repeat"] = str(repeat)
        self._kept.append(_Kept(kind, record.epoch, score, repeat, (state, metadata)))
        if kind in self._limits:
            self._drop_worse(kind, repeat)

    def _drop_worse(self, kind: Kind, repeat: int | None) -> None:
        """Forgets what is not among the best; its file goes when all better ones are written."""
        for worse in self._ranked(kind, repeat)[self._limits[kind] :]:
            self._kept.remove(worse)
            if worse.pending is None:
                self._superseded.add(worse.file_name)

    def _remove_superseded(self) -> None:
        for name in self._superseded - {kept.file_name for kept in self._kept}:
            _remove(self.directory / name)
        self._superseded.clear()

    def _ranked(self, kind: Kind, repeat: int | None) -> list[_Kept]:
        """Returns what is kept of a kind and a training, the best first."""
        chosen = (kept for kept in self._kept if (kept.kind, kept.repeat) == (kind, repeat))
        return sorted(chosen, key=lambda kept: (self._order(kept.score), kept.epoch))

    def _order(self, score: float) -> float:
        return -score if self._direction == "maximize" else score

    def _latest(self, kind: Kind, repeat: int | None) -> float:
        """Returns the epoch of the latest of a kind and a training, 0 if there is none."""
        return max((kept.epoch for kept in self._ranked(kind, repeat)), default=0.0)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"cannot remove the checkpoint {path}: {error.strerror or error}"
        ) from error


def _copy(value: Any) -> Any:
    """Copies a tensor to the CPU; what else a state dictionary holds is kept as it is."""
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value
