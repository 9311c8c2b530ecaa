"""Workers on this machine: one in this process, several as processes of their own."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import torch

from nnstudy.data import Data
from nnstudy.engines.orders import Orders
from nnstudy.engines.work import work_on
from nnstudy.errors import UserError
from nnstudy.search.events import Emit, Event
from nnstudy.search.interruption import SIGNALS, Interruption
from nnstudy.study import Study

_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 10.0
_LAST_WORDS_SECONDS = 2.0
_MOST_DEATHS = 10


def run_workers(
    orders: Orders,
    workers: int,
    *,
    study: Study,
    data: Data,
    emit: Emit,
    interruption: Interruption,
    is_done: Callable[[], bool],
) -> None:
    """Runs a stage with a number of workers until it is done or an end is asked for.

    Args:
        orders: What to work on.
        workers: One works in this process, several in processes of their own.
        study: The study.
        data: Its data, for a worker in this process.
        emit: Hears what happens.
        interruption: Asks for an early end.
        is_done: Tells whether the stage's budget is spent.

    Raises:
        UserError: If a worker met something that the user can put right.
        KeyboardInterrupt: If an end at once was asked for.
    """
    if workers == 1:
        work_on(orders, emit, interruption, study=study, data=data)
        return
    with contextlib.ExitStack() as stack:
        if orders.reference is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            orders = replace(orders, pickled=_pickle(study, directory))
        Pool(orders, workers, emit, interruption, is_done).run()


@dataclass
class Pool:
    """Worker processes that are started again when they die.

    Attributes:
        orders: What they work on.
        workers: How many there are.
        emit: Hears what happens, in the thread that calls ``run``.
        interruption: Asks for an early end.
        is_done: Tells whether the stage's budget is spent.
    """

    orders: Orders
    workers: int
    emit: Emit
    interruption: Interruption
    is_done: Callable[[], bool]
    _events: queue.Queue[Event] = field(default_factory=queue.Queue)
    _processes: dict[int, subprocess.Popen[str]] = field(default_factory=dict)
    _readers: dict[int, list[threading.Thread]] = field(default_factory=dict)
    _deaths: int = 0
    _error: Event | None = None

    def run(self) -> None:
        """Runs the workers until none is left."""
        try:
            for index in range(self.workers):
                self._start(index)
            asked = False
            while self._processes:
                self._pass_events_on()
                if (self.interruption.requested or self._error) and not asked:
                    asked = True
                    self._signal(signal.SIGINT)
                self._look_after_processes()
        except BaseException:
            self._end_now()
            raise
        self._raise_error()

    def _start(self, index: int) -> None:
        with _signals_wait():  # which the worker inherits, until it can hear them
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "nnstudy.engines.worker_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",  # whatever a library prints
                env=self._environment(index),
                start_new_session=True,  # Ctrl-C reaches the launcher alone, which passes it on
            )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._processes[index] = process
        self._readers[index] = [
            self._read(process.stdout, _parse),
            self._read(process.stderr, lambda line: Event("output", {"text": line})),
        ]
        with contextlib.suppress(BrokenPipeError):  # it has died, which is seen to later
            process.stdin.write(self.orders.to_json() + "\n")
            process.stdin.close()

    def _environment(self, index: int) -> dict[str, str]:
        threads = str(self.orders.settings.threads)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            # What can be imported here can be imported there, also from a notebook's folder.
            "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path),
        }
        if self.orders.settings.device in ("auto", "cuda") and torch.cuda.is_available():
            devices = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
            if devices == [""]:
                devices = [str(number) for number in range(torch.cuda.device_count())]
            environment["CUDA_VISIBLE_DEVICES"] = devices[index % len(devices)]
        return environment

    def _read(self, stream: IO[str], parse: Callable[[str], Event]) -> threading.Thread:
        def read() -> None:
            with stream:
                for line in stream:
                    self._events.put(parse(line.rstrip("\n")))

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread

    def _pass_events_on(self, *, wait: bool = True) -> None:
        with contextlib.suppress(queue.Empty):
            event = self._events.get(timeout=_POLL_SECONDS) if wait else self._events.get_nowait()
            while True:
                if event.kind == "error":
                    self._error = self._error or event
                else:
                    self.emit(event)
                event = self._events.get_nowait()

    def _look_after_processes(self) -> None:
        for index, process in list(self._processes.items()):
            code = process.poll()
            if code is None:
                continue
            del self._processes[index]
            for reader in self._readers.pop(index):
                reader.join(_LAST_WORDS_SECONDS)  # a process of the worker's own may go on
            self._pass_events_on(wait=False)
            if code == 0 or self.interruption.requested or self._error or self.is_done():
                continue
            self._deaths += 1
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            if self._deaths > _MOST_DEATHS:
                raise UserError(
                    f"workers have died {self._deaths} times, last by {name}; is there enough"
                    " memory? Use fewer --workers. The study is stored: launch it again to go on"
                )
            self.emit(Event("warning", {"text": f"a worker died by {name}; another one starts"}))
            self._start(index)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def _end_now(self) -> None:
        """Ends the workers at once, with time for a last word."""
        # Twice is at once; two signals of one kind could arrive as one.
        self._signal(signal.SIGINT)
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        self._signal(signal.SIGKILL)
        for process in self._processes.values():
            process.wait()

    def _raise_error(self) -> None:
        if self._error is None:
            return
        values = self._error.values
        if values["exit_code"] == 2:
            raise UserError(values["text"])
        raise RuntimeError(f"a worker failed:\n{values['traceback']}")


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _parse(line: str) -> Event:
    try:
        return Event.from_json(line)
    except ValueError:
        return Event("output", {"text": line})


def _pickle(study: Study, directory: Path) -> Path:
    import cloudpickle

    path = directory / "study.pkl"
    path.write_bytes(cloudpickle.dumps(study))
    return path
