"""Time that adds up over interruptions."""

from __future__ import annotations

import time


class Stopwatch:
    """Runs inside a ``with`` block, and goes on from there in the next one.

    Attributes:
        elapsed: Seconds in the blocks that are over.
    """

    def __init__(self) -> None:
        """Starts at zero, and stands still."""
        self.elapsed = 0.0
        self._started: float | None = None

    def __enter__(self) -> None:
        """Runs on."""
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        """Stands still, whatever was raised."""
        self.elapsed = self.seconds
        self._started = None

    @property
    def seconds(self) -> float:
        """Seconds until now."""
        running = 0.0 if self._started is None else time.perf_counter() - self._started
        return self.elapsed + running
