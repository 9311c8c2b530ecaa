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


@contextmanager
def heartbeat(lease: Lease, progress: Callable[[], object]) -> Iterator[None]:
    """Renews a lease in a thread, for as long as the trial gets on.

    A renewal is tied to progress, so that a worker that hangs while its process lives loses
    its trial to another one: the lease is renewed only if ``progress`` changed since the
    last renewal.

    Args:
        lease: The trial's lease.
        progress: Returns anything that changes while the trial gets on.
    """
    ended = threading.Event()

    def beat() -> None:
        # Heard here, a signal would not wake a main thread that waits.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        seen: object = object()
        while not ended.wait(lease.seconds / 4):
            now = progress()
            if now == seen:
                continue
            seen = now
            try:
                lease.renew()
            except Exception as error:  # the database may be back at the next beat
                _LOG.warning("the lease of a trial could not be renewed: %s", error)

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
