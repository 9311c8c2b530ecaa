"""Launches in processes of their own, what their workers wrote down, and a killer of workers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import optuna
import psutil

from nnstudy.search.leases import LeaseInfo, Leases
from nnstudy.search.storage import open_storage
from tests.launching import Place

ROOT = Path(__file__).resolve().parents[2]
TOY = Path(__file__).parent / "studies" / "toy.py"
NOOP = Path(__file__).parent / "studies" / "noop.py"

_WORKER = "nnstudy.engines.worker_process"


@dataclass(frozen=True)
class Entry:
    """What a worker wrote into the diary.

    Attributes:
        what: ``validation`` or ``step``, when it was done.
        trial: Number of the trial.
        number: Of the validation, or of the minibatch since the trial's begin.
        process: Of the worker.
        time: In seconds since 1970.
    """

    what: str
    trial: int
    number: int
    process: int
    time: float


@dataclass
class Scene:
    """A place to launch in, with a diary that all workers write into.

    Attributes:
        place: Where everything is kept.
        launches: All that were started.
        outage: When something was away: from and to, in seconds since 1970.
    """

    place: Place
    launches: list[Launch] = field(default_factory=list)
    outage: tuple[float, float] = (0.0, 0.0)

    @property
    def diary(self) -> Path:
        return self.place.directory / "diary"

    def entries(self, what: str = "validation", trial: int | None = None) -> list[Entry]:
        """What has been written down so far, in order."""
        if not self.diary.exists():
            return []
        lines = self.diary.read_text().splitlines()
        entries = (Entry(**json.loads(line)) for line in lines)
        return [e for e in entries if e.what == what and trial in (None, e.trial)]

    def launch(
        self,
        study: Path = TOY,
        *,
        epoch_seconds: float = 0.0,
        step_seconds: float = 0.0,
        deed: str = "",
        settings: dict[str, Any] | None = None,
        copies: int = 1,
        **options: Any,
    ) -> Launch:
        """Starts a launch, or several of the same at once.

        What its workers may be told to do stands in ``studies/toy.py``.
        """
        orders = {
            "study": str(study),
            "directory": str(self.place.directory),
            "storage": self.place.storage,
            "settings": {"patience": 120.0, **(settings or {})},
            "copies": copies,
            "options": options,
        }
        habits = {
            "FAULTS_DIARY": str(self.diary),
            "FAULTS_EPOCH_SECONDS": str(epoch_seconds),
            "FAULTS_STEP_SECONDS": str(step_seconds),
            "FAULTS_DEED": deed,
        }
        started = Launch(orders, habits)
        self.launches.append(started)
        return started

    def wait_for_validations(self, more: int, launch: Launch) -> None:
        """Waits until there are so many more than now, or the launch has ended."""
        wanted = len(self.entries()) + more
        wait_until(lambda: launch.is_over or len(self.entries()) >= wanted, 300)

    def workers(self) -> list[psutil.Process]:
        """The worker processes that live, whoever started them."""
        return [process for process in self._processes() if _WORKER in process.cmdline()]

    def leases(self) -> dict[int, LeaseInfo]:
        """What is stored about the lease of every trial, by the trial's number."""
        leases, study = self._stored
        found = leases.all()  # before the trials, of which there may be more every moment
        numbers = {trial._trial_id: trial.number for trial in study.get_trials(deepcopy=False)}
        return {numbers[trial_id]: info for trial_id, info in found.items()}

    def end(self) -> None:
        """Kills whatever is left."""
        for process in self._processes():
            with suppress(psutil.Error):
                process.kill()
        for launch in self.launches:
            launch.process.wait()

    @cached_property
    def _stored(self) -> tuple[Leases, optuna.Study]:
        storage = open_storage(self.place.storage)
        study = optuna.load_study(study_name="toy/search", storage=storage)
        return Leases(storage, "onlooker"), study

    def _processes(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("FAULTS_DIARY") == str(self.diary):
                    yield process


class Launch:
    """A launch in a process of its own, and what it says.

    Attributes:
        process: The process.
        events: What it told so far, as JSON-ready values.
        errors: Lines of its standard error so far.
    """

    def __init__(self, orders: dict[str, Any], habits: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.launcher"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=orders["directory"],
            env={**os.environ, **habits, "PYTHONPATH": str(ROOT)},
        )
        self.events: list[dict[str, Any]] = []
        self.errors: list[str] = []
        assert self.process.stdin
        self.process.stdin.write(json.dumps(orders) + "\n")
        self.process.stdin.close()
        self._readers = [
            _reading(self.process.stdout, self._hear),
            _reading(self.process.stderr, self.errors.append),
        ]

    def _hear(self, line: str) -> None:
        try:
            self.events.append(json.loads(line))
        except ValueError:
            self.events.append({"event": "output", "text": line})

    @property
    def is_over(self) -> bool:
        return self.process.poll() is not None

    def texts(self, *kinds: str) -> list[str]:
        """What was told in words."""
        return [event["text"] for event in list(self.events) if event["event"] in kinds]

    def wait(self, seconds: float) -> Launch:
        """Waits for the end, and for all that was said until then."""
        self.process.wait(seconds)
        for reader in self._readers:
            reader.join(10)
        return self

    def assert_complete(self, trials: int) -> None:
        """Nothing went wrong, and nobody saw a traceback or a stray line."""
        assert self.process.returncode == 0, self.account()
        assert self.events[-1]["complete"], self.account()
        assert sum(self.events[-1]["endings"].values()) == trials
        assert "Traceback" not in self.account()
        assert self.texts("output") == []
        assert self.errors == []

    def account(self) -> str:
        """All that was said in words, for a failure's report."""
        texts = self.texts("warning", "message", "output", "error")
        return "\n".join([f"exit code {self.process.returncode}", *texts, *self.errors])


@dataclass
class Killer:
    """Kills workers of a scene, chosen at random, at random moments of the study's progress.

    Moments are drawn in validations done since the last kill, so that all kills hit before the
    study ends, however slow the machine; and then in seconds, so that they hit anywhere.

    Attributes:
        scene: Whose workers.
        seed: Of moments and choices.
        validations: Least and greatest number of validations between two kills.
        log: What was done, for a failure's report.
    """

    scene: Scene
    seed: int
    validations: tuple[int, int]
    log: list[str] = field(default_factory=list)

    def kill(self, times: int, launch: Launch) -> int:
        """Kills so many workers, or fewer if the launch ends before; returns how many."""
        draw = random.Random(self.seed)
        for kill in range(times):
            self.scene.wait_for_validations(draw.randint(*self.validations), launch)
            time.sleep(draw.uniform(0, 0.5))
            victim = self._kill_one(draw, launch)
            if victim is None:
                return kill
            self.log.append(f"kill {kill}: worker {victim}")
        return times

    def _kill_one(self, draw: random.Random, launch: Launch) -> int | None:
        """Kills a worker that has a trial, four times of five, or any, such as one that starts."""
        wants_busy = draw.random() < 0.8
        while not launch.is_over:
            busy, spared = self._busy()
            alive = {worker.pid for worker in self.scene.workers()} - spared
            if victims := sorted(alive & busy if wants_busy else alive):
                victim = draw.choice(victims)
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    return victim
            time.sleep(0.1)
        return None

    def _busy(self) -> tuple[set[int], set[int]]:
        """Workers that have a trial, and those whose trial would fail if it cost one more."""
        holders = [i for i in self.scene.leases().values() if i.expires_in_seconds > 0]
        busy = {int(info.owner.rpartition(":")[2]): info.deaths for info in holders}
        return set(busy), {process for process, deaths in busy.items() if deaths >= 2}


@contextmanager
def scene_at(place: Place) -> Iterator[Scene]:
    """A scene that leaves no process behind."""
    scene = Scene(place)
    try:
        yield scene
    except BaseException:
        for launch in scene.launches:
            report(launch.account())
        raise
    finally:
        scene.end()


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Waits until a condition holds, and fails if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(0.05)


def report(*lines: str) -> None:
    """Tells figures that are worth reading even where a test passes, and why one failed."""
    sys.stdout.write("\n".join(lines) + "\n")


def trained_more_than_once(entries: Sequence[Entry]) -> set[tuple[int, int]]:
    """The (trial, number) pairs that were written down more than once."""
    pairs = [(entry.trial, entry.number) for entry in entries]
    return {pair for pair in pairs if pairs.count(pair) > 1}


def _reading(stream: IO[str] | None, hear: Callable[[str], None]) -> threading.Thread:
    assert stream is not None

    def read() -> None:
        with stream:
            for line in stream:
                hear(line.rstrip("\n"))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread
