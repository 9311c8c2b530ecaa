"""Ctrl-C: once ends after the current epoch, twice ends now."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_GRACE_SECONDS = 2.0

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether somebody wants this process to end after the current epoch.

    Attributes:
        requested: True from the first request on.
    """

    def __init__(self) -> None:
        self.requested = False
        self._ending_since = -math.inf

    def request(self) -> None:
        """Asks for an end after the current epoch.

        Raises:
            KeyboardInterrupt: If it was asked for before: end now. Further requests close
                behind are not heard, so that what is put in order then is not torn.
        """
        if not self.requested:
            self.requested = True
        elif time.monotonic() - self._ending_since > _GRACE_SECONDS:
            self._ending_since = time.monotonic()
            raise KeyboardInterrupt

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Lets SIGINT and SIGTERM ask; only in the main thread of a process of ours."""

        def handle(_signal: int, _frame: FrameType | None) -> None:
            self.request()

        before = {number: signal.signal(number, handle) for number in SIGNALS}
        # Whoever started this process may have held them back until now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
