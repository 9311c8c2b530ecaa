"""A worker process: orders come on standard input, events go to standard output."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import TextIO

from nnstudy.engines.orders import Orders
from nnstudy.engines.work import work_on
from nnstudy.errors import UserError
from nnstudy.search.events import Event
from nnstudy.search.interruption import ENDED_BY_SIGTERM, SIGNALS, Interruption


def main() -> int:
    """Runs the orders.

    Returns:
        0; 2 for what the user can put right; 1 for a defect; 143 where SIGTERM ended it.
    """
    events = _take_standard_output()
    interruption = Interruption()

    def emit(event: Event) -> None:
        try:
            events.write(event.to_json() + "\n")
            events.flush()
        except BrokenPipeError:
            # The launcher is gone, which is no trial's fault: end after the epoch, all saved.
            _fall_silent(events)
            interruption.requested = True

    with interruption.on_signals():
        try:
            orders = Orders.from_json(sys.stdin.readline())
            work_on(orders, emit, interruption)
        except KeyboardInterrupt:
            return 130
        except UserError as error:
            emit(Event("error", {"text": str(error), "exit_code": 2, "traceback": None}))
            return 2
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            emit(
                Event("error", {"text": text, "exit_code": 1, "traceback": traceback.format_exc()})
            )
            return 1
        finally:
            # What comes now would only tear the end of the process.
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    return ENDED_BY_SIGTERM if interruption.leaving else 0


def _take_standard_output() -> TextIO:
    """Keeps standard output for events; what a recipe prints goes to standard error."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


def _fall_silent(events: TextIO) -> None:
    """Lets what is still written go nowhere, where a closed pipe would raise."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2, events.fileno()):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
