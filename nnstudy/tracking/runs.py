"""One run: curves that may arrive late, tags, files, and how it ended."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nnstudy.tracking.buffer import Buffer
from nnstudy.tracking.location import Location
from nnstudy.tracking.quiet import quietly

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow.tracking import MlflowClient

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

    @property
    def pending(self) -> dict[str, Any]:
        """What has not been delivered, JSON-ready, for a checkpoint."""
        end = None if self._end_delivered else self._end
        return {**self._buffer.to_dict(), "end": list(end) if end else None}

    def restore(self, pending: Mapping[str, Any]) -> None:
        """Puts back what another process could not deliver; the next ``flush`` tries again."""
        self._buffer.restore(pending)
        if pending["end"] and not self._end:
            status, ended = pending["end"]
            self._end = (status, int(ended))

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
            tried = time.monotonic()
            self._next_try = tried + max(_REST_SECONDS, _REST_FACTOR * (tried - started))
            return False
        self._next_try = 0.0
        if self._away:
            _log.warning(
                "MLflow is back: %d waiting values of run %s delivered", delivered, self.run_id
            )
            self._away = False
        return True

    def finish(self, status: Status = "FINISHED", tags: Mapping[str, Any] | None = None) -> bool:
        """Ends the run and delivers all that waits; calling it again changes nothing more.

        Args:
            status: ``FINISHED`` for complete, ``KILLED`` for pruned or stopped, ``FAILED`` for
                failed or diverged.
            tags: Last tags.

        Returns:
            False where the tracking store could not be reached; ``flush`` tries again.
        """
        if self._end is None:
            self._buffer.tag(tags or {})
            self._end = (status, _now())
        return self.flush(now=True)

    def log_text(self, text: str, path: str) -> bool:
        """Writes a text artifact; MLflow shows ``.md``, ``.html``, ``.json``, ``.csv``."""
        return self._write_file(path, lambda: self._client.log_text(self.run_id, text, path))

    def log_dict(self, values: Any, path: str) -> bool:
        """Writes JSON-ready values as an artifact."""
        return self.log_text(json.dumps(values, indent=2, default=str), path)

    def log_figure(self, figure: Figure, path: str) -> bool:
        """Writes a matplotlib figure as an artifact, in the format that the path ends with."""
        return self._write_file(path, lambda: self._client.log_figure(self.run_id, figure, path))

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
    ) -> bool:
        """Ends the run, with the values of its best epoch; see ``Run.finish``.

        Args:
            status: See ``Run.finish``.
            tags: Last tags.
            best: The values of the best epoch.
            best_at: When they were made; default now. A run that is ended again by another
                process must be given the same, so that MLflow keeps one value.
        """
        if best and self._end is None:
            self.log_best(best, timestamp=_now() if best_at is None else best_at)
        return super().finish(status, tags)


def _now() -> int:
    return time.time_ns() // 1_000_000
