"""A launch as a process of its own, which tests may kill: ``python -m tests.faults.launcher``.

What to launch comes as one line of JSON on standard input; each event goes to standard output
as one line of JSON, and what came of it as the last. It may be launched by several processes
at once.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from nnstudy.engines import LaunchResult
from nnstudy.errors import UserError
from nnstudy.search.events import Event
from nnstudy.search.interruption import Interruption
from tests.launching import Place


def main() -> int:
    orders = json.loads(sys.stdin.readline())
    if orders["copies"] == 1:
        return _run(orders)
    # All of them with everything imported already, so that they are at it in the same moment.
    assert threading.active_count() == 1
    children = [_fork(orders) for _ in range(orders["copies"])]
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


def _fork(orders: dict[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = _run(orders)
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def _run(orders: dict[str, Any]) -> int:
    try:
        result = _launch(orders)
    except UserError as error:
        _say({"event": "error", "text": str(error)})
        return 2
    _say({"event": "result", "complete": result.complete, "endings": result.endings})
    return 0


def _launch(orders: dict[str, Any]) -> LaunchResult:
    place = Place(Path(orders["directory"]), orders["storage"])
    interruption = Interruption()
    with interruption.on_signals():
        return place.launch(
            orders["study"],
            hear=lambda event: _say(json.loads(Event.to_json(event))),
            interruption=interruption,
            settings=orders["settings"],
            preflight=False,
            **orders["options"],
        )


def _say(values: dict[str, Any]) -> None:
    line = json.dumps({**values, "process": os.getpid()}) + "\n"
    os.write(1, line.encode())  # at once, as others may write beside it


if __name__ == "__main__":
    sys.exit(main())
