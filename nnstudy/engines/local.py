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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import torch

from nnstudy.data import Data
from nnstudy.data.shared import share
from nnstudy.engines.hearing import Hearing
from nnstudy.engines.orders import Orders
from nnstudy.engines.work import work_on
from nnstudy.search.events import Emit, Event
from nnstudy.search.interruption import ENDED_BY_SIGTERM, HUNG, SIGNALS, Interruption
from nnstudy.search.worker import worker_name
from nnstudy.study import Study

_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 10.0
_LAST_WORDS_SECONDS = 2.0


def run_workers(
    orders: Orders,
    workers: int,
    *,
    study: Study,
    data: Data,
    emit: Emit,
    interruption: Interruption,
    is_done: Callable[[], bool],
    expire: Callable[[str], object],
) -> None:
    """Runs a study with a number of workers until it is done or an end is asked for.

    Args:
        orders: What to work on.
        workers: One works in this process, several in processes of their own.
        study: The study.
        data: Its data, for a worker in this process.
        emit: Hears what happens.
        interruption: Asks for an early end.
        is_done: Tells whether the study's budget is spent.
        expire: Ends the leases of a worker that has died, by its name in leases.

    Raises:
        UserError: If a worker met something that the user can put right.
        KeyboardInterrupt: If an end at once was asked for.
    """
    if workers == 1:
        work_on(orders, emit, interruption, study=study, data=data)
        return
    with _ready_to_send(orders, study, data) as orders:
        Pool(orders, workers, Hearing(emit), interruption, is_done, expire).run()


def run_stages(
    orders: Orders,
    stages: Sequence[str],
    workers: int,
    *,
    study: Study,
    data: Data,
    emit: Emit,
    interruption: Interruption,
    is_done: Callable[[], bool],
    expire: Callable[[str], object],
) -> None:
    """Runs stages that do not depend on each other, each by one worker.

    Args:
        orders: What to work on, but for the stage.
        stages: In the order in which they are begun.
        workers: How many run at once: one in this process, several in processes of their own.
        study: The study.
        data: Its data.
        emit: Hears what happens; by one thread at a time.
        interruption: Asks for an early end.
        is_done: Tells whether the budget of every stage is spent.
        expire: Ends the leases of a worker that has died, by its name in leases.

    Raises:
        UserError: If a worker met something that the user can put right; the others hand back
            what they have.
        KeyboardInterrupt: If an end at once was asked for.
    """
    if workers == 1:
        for stage in stages:
            if not interruption.requested:
                alone = replace(orders, stages=[stage])
                work_on(alone, emit, interruption, study=study, data=data)
        return
    places: queue.SimpleQueue[int] = queue.SimpleQueue()
    for place in range(workers):
        places.put(place)
    speaking = threading.Lock()

    def hear(event: Event) -> None:
        with speaking:
            emit(event)

    def run(stage: str) -> None:
        if interruption.requested:
            return
        place = places.get()
        try:
            alone = replace(orders, stages=[stage], workers=1)
            Pool(alone, 1, Hearing(hear), interruption, is_done, expire, first=place).run()
        finally:
            places.put(place)

    with _ready_to_send(orders, study, data) as orders, ThreadPoolExecutor(workers) as threads:
        running = [threads.submit(run, stage) for stage in stages]
        try:
            for done in as_completed(running):
                done.result()
        except BaseException:
            interruption.hand_back()  # the executor waits until the others have
            raise


@contextlib.contextmanager
def _ready_to_send(orders: Orders, study: Study, data: Data) -> Iterator[Orders]:
    """Yields orders that processes of this machine can follow, with data that they share."""
    with contextlib.ExitStack() as stack:
        if orders.reference is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            orders = replace(orders, pickled=_pickle(study, directory))
        share(data)
        yield orders


@dataclass
class Pool:
    """Worker processes that are started again when they die.

    Attributes:
        orders: What they work on.
        workers: How many there are.
        hearing: Hears what happens, in the thread that calls ``run``.
        interruption: Asks for an early end.
        is_done: Tells whether the study's budget is spent.
        expire: Ends the leases of a worker that has died, by its name in leases.
        first: Number of the first worker; which device of CUDA a worker has goes by it.
    """

    orders: Orders
    workers: int
    hearing: Hearing
    interruption: Interruption
    is_done: Callable[[], bool]
    expire: Callable[[str], object]
    first: int = 0
    _events: queue.Queue[Event] = field(default_factory=queue.Queue)
    _processes: dict[int, subprocess.Popen[str]] = field(default_factory=dict)
    _readers: dict[int, list[threading.Thread]] = field(default_factory=dict)

    def run(self) -> None:
        """Runs the workers until none is left."""
        try:
            for index in range(self.first, self.first + self.workers):
                self._start(index)
            asked: signal.Signals | None = None
            while self._processes:
                self._pass_events_on()
                wanted = self._wanted_signal()
                if wanted is not None and wanted != asked:
                    asked = wanted
                    self._signal(wanted)
                self._look_after_processes()
        except BaseException:
            self._end_now()
            raise
        self.hearing.raise_error()

    def _wanted_signal(self) -> signal.Signals | None:
        if self.interruption.leaving:
            return signal.SIGTERM
        return signal.SIGINT if self.interruption.requested or self.hearing.error else None

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
                self.hearing.hear(event)
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
            if code != 0:
                self.expire(worker_name(process.pid))
            if code == 0 or self.interruption.requested or self.hearing.error or self.is_done():
                continue
            self.hearing.hear_of_death(f"a worker {_end(code)}", "Use fewer --workers")
            self._start(index)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def _end_now(self) -> None:
        """Ends the workers at once, with time for a last word."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        self._signal(signal.SIGKILL)
        for process in self._processes.values():
            if process.wait() != 0:
                self.expire(worker_name(process.pid))


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(code: int) -> str:
    if code == ENDED_BY_SIGTERM:
        return "was ended by SIGTERM"
    if code == HUNG:
        return "hung"
    return f"died by {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"


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
