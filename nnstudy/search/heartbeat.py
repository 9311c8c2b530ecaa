"""Keeps a trial's lease while the trial makes progress."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nnstudy.search.interruption import SIGNALS
from nnstudy.search.leases import Lease

_LOG = logging.getLogger(__name__)

_BEATS = 4  # in the time that a lease holds
_AGAIN_SECONDS = 0.5  # after a failure, to be there before others as a database comes back


@contextmanager
def heartbeat(
    lease: Lease, progress: Callable[[], object], abandon: Callable[[], None] | None = None
) -> Iterator[None]:
    """Renews a lease in a thread, for as long as the trial gets on.

    A renewal is tied to progress, so that a worker that hangs while its process lives loses
    its trial to another one: the lease is renewed only if ``progress`` changed since the
    last renewal.

    Args:
        lease: The trial's lease.
        progress: Returns anything that changes while the trial gets on.
        abandon: Is called when the trial has hung for as long as a lease holds, and another
            worker has it: what this one waits for is of no use any more.
    """
    ended = threading.Event()

    def beat() -> None:
        # Heard here, a signal would not wake a main thread that waits.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        seen: object = object()
        still = 0  # beats, not seconds: a process that was stopped has not hung
        pause = usual = lease.seconds / _BEATS
        while not ended.wait(pause):
            pause = usual
            now = progress()
            still = still + 1 if now == seen else 0
            seen = now
            try:
                if not still:
                    lease.renew()
                elif abandon and still >= _BEATS and not lease.valid():
                    abandon()
            except Exception as error:  # the database may be back at the next beat
                pause, seen = min(usual, _AGAIN_SECONDS), object()
                _LOG.debug("the lease of a trial could not be renewed: %s", error)

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
