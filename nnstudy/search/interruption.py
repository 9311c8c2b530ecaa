"""Signals: Ctrl-C once ends after the current epoch, twice ends now; SIGTERM hands back at once."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_GRACE_SECONDS = 2.0
# What a cluster's SIGTERM leaves of a second, with room for the write that releases a trial.
_HAND_BACK_SECONDS = 0.7
_RELEASE_SECONDS = 0.2
_LOOK_SECONDS = 0.1

SIGNALS = (signal.SIGINT, signal.SIGTERM)

ENDED_BY_SIGTERM = 128 + signal.SIGTERM
"""Exit code of a process that has handed back what it had, as shells have it."""

HUNG = 70
"""Exit code of a process whose main thread hung until another worker had its trial."""


class Interrupted(Exception):
    """The work was left where it is, to be continued later."""


class Interruption:
    """Whether somebody wants this process to end.

    Attributes:
        requested: End after the current epoch.
        leaving: End at the next minibatch.
        timed_out: The time for this process is over, so ``requested``.
    """

    def __init__(self) -> None:
        self.requested = False
        self.leaving = False
        self.timed_out = False
        self._ending_since = -math.inf
        self._held: list[Callable[[], None]] = []
        self._is_ours = False

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

    def hand_back(self) -> None:
        """Asks for an end at the next minibatch, with all saved, as a cluster's SIGTERM does."""
        self.requested = self.leaving = True

    @contextmanager
    def holding(self, release: Callable[[], None]) -> Iterator[None]:
        """Says how to give back what is worked on, for where the next minibatch is too far."""
        self._held.append(release)
        try:
            yield
        finally:
            self._held.remove(release)

    def abandon(self) -> None:
        """Ends this process, whose main thread hangs; one that is not ours is left alone."""
        if self._is_ours:
            os._exit(HUNG)

    def wait(self, seconds: float) -> None:
        """Sleeps, but not beyond a request."""
        deadline = time.monotonic() + seconds
        while not self.requested and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(0.1, left))

    @contextmanager
    def after(self, seconds: float | None) -> Iterator[None]:
        """Asks for an end when so many seconds are over; None: never."""
        if seconds is None:
            yield
            return

        def end() -> None:
            self.timed_out = self.requested = True

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Lets SIGINT and SIGTERM ask; only in the main thread of a process of ours.

        Python handles a signal between two of its own instructions, which a long minibatch
        delays. So a thread of its own watches for SIGTERM, gives back what is held and ends
        the process where the main thread does not come to it in time.
        """

        def handle(number: int, _frame: FrameType | None) -> None:
            if number == signal.SIGTERM:
                self.hand_back()
            else:
                self.request()

        heard, told = socket.socketpair()
        told.setblocking(False)
        before = {number: signal.signal(number, handle) for number in SIGNALS}
        wakeup = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        watcher = threading.Thread(target=self._watch, args=(heard,), daemon=True, name="signals")
        watcher.start()
        # Whoever started this process may have held them back until now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._is_ours = True
        try:
            yield
        finally:
            self._is_ours = False
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            told.close()
            watcher.join(1.0)

    def _watch(self, heard: socket.socket) -> None:
        # Heard here, a signal would not wake a main thread that waits.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        with heard:
            while numbers := heard.recv(64):
                if signal.SIGTERM in numbers:
                    time.sleep(_HAND_BACK_SECONDS)
                    # Also what is taken up only now: a trial that was being claimed.
                    while self._is_ours:
                        self._leave()
                        time.sleep(_LOOK_SECONDS)

    def _leave(self) -> None:
        held = list(self._held)
        if not held:
            return
        for release in held:
            # A database that hangs ends the lease itself, when its time is over.
            thread = threading.Thread(target=_quietly, args=(release,), daemon=True)
            thread.start()
            thread.join(_RELEASE_SECONDS)
        os._exit(ENDED_BY_SIGTERM)


def _quietly(release: Callable[[], None]) -> None:
    with contextlib.suppress(Exception):
        release()


def _forget_signals() -> None:
    """Lets a forked child die by a signal, and tell nobody else of it."""
    handler = signal.getsignal(signal.SIGTERM)
    if getattr(handler, "__module__", None) != __name__:
        return
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget_signals)
