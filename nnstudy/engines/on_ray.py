"""Workers as tasks of Ray, which starts again what dies with its process or its node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import cloudpickle

from nnstudy.engines.hearing import Hearing
from nnstudy.engines.orders import Orders
from nnstudy.engines.places import make_directories, warning_for
from nnstudy.engines.ray_cluster import RayCluster
from nnstudy.engines.ray_task import EVENT, Parcel, work
from nnstudy.errors import UserError
from nnstudy.search.events import Emit, Event
from nnstudy.search.interruption import Interruption
from nnstudy.study import Study
from nnstudy.study.sources import Sources

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.util.queue import Queue

_POLL_SECONDS = 0.2
_LOOK_AT_NODES_SECONDS = 2.0
_PATIENCE_SECONDS = 10.0


def run_workers(
    orders: Orders,
    workers: int,
    *,
    cluster: RayCluster,
    study: Study,
    sources: Sources | None,
    emit: Emit,
    interruption: Interruption,
    expire: Callable[[str], object],
) -> None:
    """Runs a study with a number of tasks until it is done or an end is asked for.

    Args:
        orders: What to work on.
        workers: Number of tasks; those that find no room wait until there is some.
        cluster: Where they run.
        study: The study.
        sources: Its file and what that imports; None for a study made in a notebook.
        emit: Hears what happens, in the thread that calls this.
        interruption: Asks for an early end.
        expire: Ends the leases of a worker that has died, by its name in leases.

    Raises:
        UserError: If a worker met something that the user can put right, or Ray is gone.
        KeyboardInterrupt: If an end at once was asked for.
    """
    import ray

    orders = _with_whole_paths(orders)
    make_directories(orders)
    if warning := warning_for(cluster.hosts, orders):
        emit(Event("warning", {"text": warning}))
    pickled = cloudpickle.dumps(study) if orders.reference is None else None
    parcel = Parcel(orders, sources, pickled)
    try:
        RayPool(parcel, workers, cluster, Hearing(emit), interruption, expire).run()
    except ray.exceptions.RayError as error:
        raise UserError(
            f"Ray has stopped working ({error}). The study is stored: launch it again to go on"
        ) from error


def _with_whole_paths(orders: Orders) -> Orders:
    settings = orders.settings
    data = orders.data_directory
    return replace(
        orders,
        settings=replace(settings, checkpoints=settings.checkpoints.absolute()),
        data_directory=data and data.absolute(),
    )


@dataclass
class RayPool:
    """Workers that Ray starts again when they die.

    Attributes:
        parcel: What each is sent.
        workers: How many there are.
        cluster: Where they run.
        hearing: Hears what happens, in the thread that calls ``run``.
        interruption: Asks for an early end.
        expire: Ends the leases of a worker that has died.
    """

    parcel: Parcel
    workers: int
    cluster: RayCluster
    hearing: Hearing
    interruption: Interruption
    expire: Callable[[str], object]
    _mail: Queue = field(init=False)
    _calls: Queue = field(init=False)
    _tasks: dict[ObjectRef[Any], int] = field(default_factory=dict)
    _started: dict[int, dict[str, Any]] = field(default_factory=dict)
    _starts: int = 0
    _next_look: float = 0.0
    _done: bool = False
    _asked: bool = False
    _called: bool = False

    def run(self) -> None:
        """Runs the workers until none is left."""
        with self.cluster.queue() as self._mail, self.cluster.queue() as self._calls:
            try:
                for worker in range(self.workers):
                    self._start(worker)
                while self._tasks:
                    ended = self._wait(_POLL_SECONDS)
                    self._read_mail()
                    self._bury_the_dead()
                    self._end(ended)
                    self._ask_for_an_end()
            except BaseException:
                self._end_now()
                raise
        self.hearing.raise_error()

    def _start(self, worker: int) -> None:
        import ray

        options = self.cluster.options
        task = ray.remote(
            num_cpus=options.cpus_per_trial,
            num_gpus=options.gpus_per_trial,
            max_retries=-1,
            max_calls=1,  # what the study imports and sets ends with its process
        )(work)
        name = f"nnstudy {self.parcel.orders.name}"
        self._tasks[
            task.options(name=name).remote(self.parcel, worker, self._mail, self._calls)
        ] = worker

    def _wait(self, seconds: float) -> list[ObjectRef[Any]]:
        """Waits for all tasks, and returns those that have ended."""
        import ray

        ended, _ = ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=seconds)
        return ended

    def _read_mail(self) -> None:
        for kind, content in self._mail.get_nowait_batch(self._mail.qsize()):
            if kind == EVENT:
                self.hearing.hear(Event.from_json(content))
            else:
                self._starts += 1
                self._bury(content["worker"])
                self._started[content["worker"]] = content

    def _bury_the_dead(self) -> None:
        """Looks now and then for nodes that are gone with their workers."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _LOOK_AT_NODES_SECONDS
        alive = self.cluster.nodes
        for worker, started in list(self._started.items()):
            if started["node"] not in alive:
                self._bury(worker)

    def _bury(self, worker: int) -> None:
        """Frees what a worker held that has died, if there was one."""
        if started := self._started.pop(worker, None):
            self.expire(started["owner"])
            self.hearing.hear_of_death(
                f"worker {started['owner']} died", "Give each trial more with --cpus-per-trial"
            )

    def _end(self, tasks: list[ObjectRef[Any]]) -> None:
        """Takes in what tasks have ended with; the first to end has found that all is done."""
        import ray

        for task in tasks:
            self._started.pop(self._tasks.pop(task), None)
            try:
                if error := ray.get(task):
                    self.hearing.hear(error)
            except ray.exceptions.RayError as error:
                if not self._asked:
                    raise UserError(f"Ray has given a worker up: {error}") from error
            self._done = True

    def _ask_for_an_end(self) -> None:
        if self.interruption.leaving and not self._called:
            self._call()
        elif not self._asked and (self.interruption.requested or self._done):
            self._asked = True
            self._cancel(self._tasks)  # to those at work it is what Ctrl-C is to a process

    def _call(self) -> None:
        """Lets the workers leave at the next minibatch, all saved."""
        self._called = self._asked = True
        # One for each that listens; what has died may still be on the queue's list.
        self._calls.put_nowait_batch(["leave"] * (self._starts + len(self._tasks)))
        waiting = [task for task, worker in self._tasks.items() if worker not in self._started]
        self._cancel(waiting)

    def _cancel(self, tasks: Iterable[ObjectRef[Any]], *, force: bool = False) -> None:
        import ray

        for task in tasks:
            ray.cancel(task, force=force, recursive=False)

    def _end_now(self) -> None:
        """Ends the workers at once, with time for a last word."""
        self._call()
        for task in self._wait(_PATIENCE_SECONDS):
            self._started.pop(self._tasks.pop(task), None)
        self._cancel(self._tasks, force=True)
        for started in self._started.values():
            self.expire(started["owner"])
