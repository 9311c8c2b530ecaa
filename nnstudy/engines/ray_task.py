"""A worker as a task of Ray: on whatever node there is room, with what it needs sent along."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cloudpickle

from nnstudy import __version__
from nnstudy.engines.orders import Orders
from nnstudy.engines.places import refuse_missing
from nnstudy.engines.work import work_on
from nnstudy.errors import UserError
from nnstudy.search.events import Emit, Event
from nnstudy.search.interruption import Interruption
from nnstudy.search.worker import worker_name
from nnstudy.study import Study
from nnstudy.study.loading import load_study
from nnstudy.study.sources import Sources

if TYPE_CHECKING:
    from ray.util.queue import Queue


# Mail is made of plain values, since the process that keeps it imports nothing of ours.
STARTED = "started"
EVENT = "event"


@dataclass(frozen=True)
class Parcel:
    """What a task is sent.

    Attributes:
        orders: What to work on. They hold passwords: no part of them is shown.
        sources: The study file and what it imports, for nodes that lack it.
        pickled: The study by cloudpickle, for a study made in a notebook.
        host: The launcher's machine.
        directory: The launcher's working directory.
        path: Where the launcher imports from.
        version: The launcher's nnstudy.
    """

    orders: Orders = field(repr=False)
    sources: Sources | None = field(default=None, repr=False)
    pickled: bytes | None = field(default=None, repr=False)
    host: str = field(default_factory=socket.gethostname)
    directory: str = field(default_factory=os.getcwd)
    path: tuple[str, ...] = field(default_factory=lambda: tuple(map(os.path.abspath, sys.path)))
    version: str = __version__


def work(parcel: Parcel, worker: int, mail: Queue, calls: Queue) -> Event | None:
    """Works on a study until it is done or an end is asked for.

    Ray's ``cancel`` is Ctrl-C here: once ends after the epoch, twice at once. SIGTERM, from the
    node or called for by the launcher, hands the trial back.

    Args:
        parcel: What to work on.
        worker: Which of the workers this is.
        mail: Where everything that happens is told.
        calls: Where the launcher calls for handing back, by anything at all.

    Returns:
        The error that ended it, or None. It is returned, since Ray would show the traceback
        of one that is raised.
    """
    import ray

    node = ray.get_runtime_context().get_node_id()
    mail.put((STARTED, {"worker": worker, "owner": worker_name(), "node": node}))
    interruption = Interruption()
    called = threading.Event()

    def emit(event: Event) -> None:
        # Where the launcher is gone, that is heard from its calls.
        with contextlib.suppress(ray.exceptions.RayError):
            mail.put((EVENT, event.to_json()))

    def listen() -> None:
        with contextlib.suppress(ray.exceptions.RayError):
            calls.get()
        called.set()
        os.kill(os.getpid(), signal.SIGTERM)

    with interruption.on_signals(), _printing_to(emit):
        threading.Thread(target=listen, daemon=True).start()
        try:
            _refuse_other_version(parcel)
            _go_where_the_launcher_is(parcel)
            refuse_missing(parcel.orders)
            with _study(parcel) as study:
                work_on(parcel.orders, emit, interruption, study=study)
        except UserError as error:
            return _error(f"{_where(parcel)}{error}", exit_code=2)
        except Exception as error:
            text = f"{_where(parcel)}{type(error).__name__}: {error}"
            return _error(text, exit_code=1, told=traceback.format_exc())
    if interruption.leaving and not called.is_set():
        sys.exit(128 + signal.SIGTERM)  # the node goes; Ray starts this task on another
    return None


def _error(text: str, *, exit_code: int, told: str | None = None) -> Event:
    return Event("error", {"text": text, "exit_code": exit_code, "traceback": told})


def _where(parcel: Parcel) -> str:
    here = socket.gethostname()
    return "" if here == parcel.host else f"on {here}: "


def _refuse_other_version(parcel: Parcel) -> None:
    if parcel.version != __version__:
        raise UserError(
            f"nnstudy {__version__} is installed here, but the launcher has {parcel.version};"
            f" install the same on every node: pip install nnstudy=={parcel.version}"
        )


def _go_where_the_launcher_is(parcel: Parcel) -> None:
    """Lets relative paths and imports mean what they mean to the launcher, where they exist."""
    with contextlib.suppress(OSError):
        os.chdir(parcel.directory)
    sys.path.extend(
        entry for entry in parcel.path if entry not in sys.path and os.path.exists(entry)
    )


@contextlib.contextmanager
def _study(parcel: Parcel) -> Iterator[Study]:
    """Loads the study: from its own file, or from the copy sent where this node lacks it."""
    if parcel.pickled is not None:
        # Made by the launcher that sent this task, which is code as well.
        yield cloudpickle.loads(parcel.pickled)
        return
    reference = parcel.orders.reference
    assert reference is not None
    if parcel.sources is None or _is_at_hand(reference, parcel.sources):
        yield load_study(reference).study
        return
    with tempfile.TemporaryDirectory(prefix="nnstudy-") as directory:
        file = parcel.sources.write_to(Path(directory))
        yield load_study(f"{file}:{reference.rpartition(':')[2]}").study


def _is_at_hand(reference: str, sources: Sources) -> bool:
    """Tells whether the study file is here, and is the launcher's; a package always counts."""
    file = reference.rpartition(":")[0]
    if not file.endswith(".py"):
        return True
    try:
        return importlib.util.decode_source(Path(file).read_bytes()) == sources.files[sources.main]
    except OSError:
        return False


@contextlib.contextmanager
def _printing_to(emit: Emit) -> Iterator[None]:
    lines = _Lines(emit)
    with contextlib.redirect_stdout(lines), contextlib.redirect_stderr(lines):
        yield


class _Lines(io.TextIOBase):
    """A text stream whose lines are events."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._emit(Event("output", {"text": line}))
        return len(text)
