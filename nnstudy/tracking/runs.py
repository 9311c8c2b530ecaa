"""One run: curves that may arrive late, tags, files, and how it ended."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nnstudy.tracking.away import explained
from nnstudy.tracking.buffer import Buffer
from nnstudy.tracking.location import Location
from nnstudy.tracking.quiet import quietly

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from mlflow.tracking import MlflowClient
    from numpy.typing import NDArray

Status = Literal["FINISHED", "KILLED", "FAILED"]

_REST_SECONDS = 5
_REST_FACTOR = 9

_log = logging.getLogger(__name__)


class Run:
    """One MLflow run, written to by its id.

    Metrics, tags and the final status are buffered; ``flush`` delivers them in one request.
    A tracking store that is away costs nothing but a warning: what waits is delivered by a
    later ``flush`` with its original time stamps, and delivering something twice leaves it
    there once. Files are written at once; where that fails, a warning is all.

    Attributes:
        run_id: MLflow's id of the run.
    """

    def __init__(self, client: MlflowClient, location: Location, run_id: str) -> None:
        self.run_id = run_id
        self._client = client
        self._location = location
        self._buffer = Buffer()
        self._end: tuple[Status, int] | None = None
        self._end_delivered = False
        self._away = False
        self._next_try = 0.0

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Sets tags, with the next ``flush``."""
        self._buffer.tag(tags)

    def set_note(self, markdown: str) -> None:
        """Sets the description that MLflow shows on top of the run, with the next ``flush``."""
        self._buffer.tag({"mlflow.note.content": markdown})

    def flush(self, *, now: bool = False) -> bool:
        """Delivers what waits, in one request for up to 900 metrics.

        After a failure the next attempts are rare, so that a store that is away costs a
        training a tenth of its time at most.

        Args:
            now: Tries at once even so.

        Returns:
            False where something still waits because the store could not be written to.
        """
        started = time.monotonic()
        if started < self._next_try and not now:
            return False
        delivered = len(self._buffer.points)
        try:
            with quietly():
                self._deliver()
        except Exception as error:  # whatever the store raises, training goes on
            self._warn_once(error)
            self._rest_since(started)
            return False
        self._next_try = 0.0
        if self._away:
            _log.warning(
                "MLflow is back: %d waiting values of run %s delivered", delivered, self.run_id
            )
            self._away = False
        return True

    def finish(
        self,
        status: Status = "FINISHED",
        tags: Mapping[str, Any] | None = None,
        *,
        ended_ms: int | None = None,
    ) -> bool:
        """Ends the run and delivers all that waits; calling it again changes nothing more.

        Args:
            status: ``FINISHED`` for complete, ``KILLED`` for pruned or stopped, ``FAILED`` for
                failed or diverged.
            tags: Last tags.
            ended_ms: When it ended, in milliseconds since 1970; default now.

        Returns:
            False where the tracking store could not be reached; ``flush`` tries again.
        """
        if self._end is None:
            self._buffer.tag(tags or {})
            self._end = (status, _now() if ended_ms is None else ended_ms)
        return self.flush(now=True)

    def is_finished(self) -> bool:
        """Tells whether the store has the run as FINISHED; False where it cannot be asked."""
        try:
            return bool(self._client.get_run(self.run_id).info.status == "FINISHED")
        except Exception:  # as in flush
            return False

    def log_text(self, text: str, path: str) -> bool:
        """Writes a text artifact; MLflow shows ``.md``, ``.html``, ``.json``, ``.csv``."""
        return self._write_file(path, lambda: self._client.log_text(self.run_id, text, path))

    def log_dict(self, values: Any, path: str) -> bool:
        """Writes JSON-ready values as an artifact."""
        return self.log_text(json.dumps(values, indent=2, default=str), path)

    def log_figure(self, figure: Figure, path: str) -> bool:
        """Writes a matplotlib figure as an artifact, in the format that the path ends with."""
        return self._write_file(path, lambda: self._client.log_figure(self.run_id, figure, path))

    def log_image(self, name: str, image: NDArray[np.uint8], *, step: int) -> bool:
        """Adds a picture to the run's image grid, unless the store was away a moment ago.

        Args:
            name: Pictures of one name make a series: letters, digits, ``_ - . /`` and space.
            image: Height, width and three colours, 0 to 255.
            step: Its place in the series.
        """
        if time.monotonic() < self._next_try:
            return False
        started = time.monotonic()
        written = self._write_file(
            name, lambda: self._client.log_image(self.run_id, image, key=name, step=step)
        )
        if not written:
            self._rest_since(started)
        return written

    def log_artifact(self, file: str | Path, folder: str | None = None) -> bool:
        """Copies a file among the artifacts."""
        return self._write_file(
            str(file), lambda: self._client.log_artifact(self.run_id, str(file), folder)
        )

    def log_artifacts(self, directory: str | Path, folder: str | None = None) -> bool:
        """Copies all files of a directory among the artifacts."""
        return self._write_file(
            str(directory), lambda: self._client.log_artifacts(self.run_id, str(directory), folder)
        )

    def list_artifacts(self, folder: str) -> list[str]:
        """Returns the paths in a folder of the artifacts.

        Raises:
            TrackingAway: The store cannot be reached.
        """
        with explained(self._location):
            return [entry.path for entry in self._client.list_artifacts(self.run_id, folder)]

    def download(self, path: str, directory: Path) -> Path | None:
        """Fetches an artifact into a directory, which is made if need be.

        Returns:
            The file, under its own name; None where there is no such artifact or the store
            cannot be reached.
        """
        from mlflow.exceptions import MlflowException

        folder = path.rpartition("/")[0]
        try:
            if path not in {
                entry.path for entry in self._client.list_artifacts(self.run_id, folder)
            }:
                return None
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=directory) as scratch:
                found = Path(self._client.download_artifacts(self.run_id, path, scratch))
                return found.replace(directory / found.name)
        except (MlflowException, OSError) as error:
            _log.warning(
                "MLflow artifact %s of run %s not read: %s",
                path,
                self.run_id,
                self._location.scrub(error),
            )
            return None

    def delete_artifact(self, path: str) -> None:
        """Deletes an artifact, if it is there."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        try:
            root = self._client.get_run(self.run_id).info.artifact_uri
            repository: Any = get_artifact_repository(root, tracking_uri=self._location.uri)
            repository.delete_artifacts(path)
        except Exception as error:
            _log.debug("artifact %s not deleted: %s", path, self._location.scrub(error))

    def _deliver(self) -> None:
        from mlflow.entities import Metric, RunTag

        while self._buffer:
            batch = self._buffer.next_batch()
            self._client.log_batch(
                self.run_id,
                metrics=[Metric(*point) for point in batch.points],
                tags=[RunTag(key, value) for key, value in batch.tags.items()],
            )
            self._buffer.drop(batch)
        if self._end and not self._end_delivered:
            status, ended = self._end
            self._client.set_terminated(self.run_id, status, ended)
            self._end_delivered = True

    def _rest_since(self, started: float) -> None:
        tried = time.monotonic()
        self._next_try = tried + max(_REST_SECONDS, _REST_FACTOR * (tried - started))

    def _write_file(self, path: str, write: Callable[[], None]) -> bool:
        try:
            with quietly():
                write()
        except Exception as error:  # a picture is not worth a training
            reason = self._location.scrub(error)
            _log.warning("MLflow artifact %s of run %s not written: %s", path, self.run_id, reason)
            return False
        return True

    def _warn_once(self, error: Exception) -> None:
        if not self._away:
            _log.warning(
                "MLflow at %s cannot be written to; the values of run %s wait: %s",
                self._location.masked_uri,
                self.run_id,
                self._location.scrub(error),
            )
        self._away = True


class StageRun(Run):
    """The parent run of a stage; its note tells the stage's story."""


class TrialRun(Run):
    """The run of one trial."""

    def steps(self, curve: str) -> dict[int, int]:
        """Returns the steps that MLflow has of a curve, each with its time stamp.

        Raises:
            TrackingAway: The store cannot be reached.
        """
        with explained(self._location):
            points = self._client.get_metric_history(self.run_id, curve)
        return {int(point.step): int(point.timestamp) for point in points}

    def log(self, values: Mapping[str, float], *, step: int, timestamp: int) -> None:
        """Adds one value to each of several curves; ``flush`` delivers them.

        Args:
            values: By name; what stands before the last slash is the section of the chart.
            step: Validations completed.
            timestamp: When the values were made, in milliseconds since 1970. A value that is
                delivered again must carry the same one, so that MLflow keeps only one.
        """
        self._buffer.add(values, step=step, timestamp=timestamp)

    def log_best(self, values: Mapping[str, float], *, timestamp: int) -> None:
        """Adds ``best/<name>`` for each value, once: as one point, it is a bar and a column.

        MLflow's table shows the value at the largest step, which is rarely the best.

        Args:
            values: By name.
            timestamp: When the values were made; see ``log``.
        """
        best = {f"best/{name}": value for name, value in values.items()}
        self._buffer.add(best, step=0, timestamp=timestamp)

    def finish(
        self,
        status: Status = "FINISHED",
        tags: Mapping[str, Any] | None = None,
        best: Mapping[str, float] | None = None,
        *,
        best_at: int | None = None,
        ended_ms: int | None = None,
    ) -> bool:
        """Ends the run, with the values of its best epoch; see ``Run.finish``.

        Args:
            status: See ``Run.finish``.
            tags: Last tags.
            best: The values of the best epoch.
            best_at: When they were made; default now. A run that is ended again by another
                process must be given the same, so that MLflow keeps one value.
            ended_ms: When it ended; default now.
        """
        if best and self._end is None:
            self.log_best(best, timestamp=_now() if best_at is None else best_at)
        return super().finish(status, tags, ended_ms=ended_ms)


def _now() -> int:
    return time.time_ns() // 1_000_000
