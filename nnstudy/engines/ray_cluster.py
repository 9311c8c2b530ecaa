"""A Ray cluster: one that runs somewhere, or one of this launch on this machine alone."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nnstudy.engines.options import LaunchOptions, RayOptions
from nnstudy.errors import UserError

if TYPE_CHECKING:
    from ray.util.queue import Queue

ADDRESS_VARIABLE = "RAY_ADDRESS"

_CONNECT_SECONDS = 10.0
_A_HAIR = 1e-9  # of resources, which are sums of floats


@contextlib.contextmanager
def connected(options: RayOptions) -> Iterator[RayCluster]:
    """Connects this process to Ray for as long as it is needed.

    Without an address, here and in the environment variable ``RAY_ADDRESS``, a Ray is started
    that listens on 127.0.0.1 alone and ends with this. One that this process is connected to
    already is used and left as it is.

    Raises:
        UserError: If Ray is not installed or does not answer, or no node has the resources
            that a trial is to have.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError("--engine ray needs Ray. Install it: pip install 'nnstudy[ray]'")
    with contextlib.ExitStack() as stack:
        if not _is_connected():
            address = options.address or os.environ.get(ADDRESS_VARIABLE)
            stack.enter_context(_started() if address is None else _joined(address))
        stack.enter_context(_silent())
        cluster = RayCluster(options)
        cluster.refuse_what_no_node_has()
        yield cluster


@contextlib.contextmanager
def connected_if_asked(given: LaunchOptions) -> Iterator[tuple[LaunchOptions, RayCluster | None]]:
    """Connects this process to Ray where that is what runs the workers.

    Returns:
        The options, with the number of workers that the cluster has room for unless one was
        given, and the cluster; None where workers are processes of this machine.

    Raises:
        UserError: As ``connected``.
    """
    if given.engine == "local":
        yield given, None
        return
    with connected(given.ray) as cluster:
        yield replace(given, workers=given.workers or cluster.workers), cluster


class RayCluster:
    """The cluster that this process is connected to.

    Args:
        options: What each trial is to have.
    """

    def __init__(self, options: RayOptions) -> None:
        self.options = options

    @property
    def workers(self) -> int:
        """How many workers the cluster's resources hold, those in use included."""
        return sum(self._held_by(node) for node in self._nodes())

    @property
    def hosts(self) -> set[str]:
        """The names of the nodes' machines."""
        return {node["NodeManagerHostname"] for node in self._nodes()}

    @property
    def nodes(self) -> set[str]:
        """The ids of the nodes that live."""
        return {node["NodeID"] for node in self._nodes()}

    @contextlib.contextmanager
    def queue(self) -> Iterator[Queue]:
        """A queue on the launcher's node, whose loss would end the launch anyway."""
        import ray
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = ray.get_runtime_context().get_node_id()
        where = NodeAffinitySchedulingStrategy(here, soft=False)
        queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": where})
        try:
            yield queue
        finally:
            queue.shutdown(force=True)

    def refuse_what_no_node_has(self) -> None:
        """Raises UserError if a trial would wait for ever, naming what the largest node has."""
        if self.workers:
            return
        most: dict[str, float] = max(
            (node["Resources"] for node in self._nodes()),
            key=lambda resources: (resources.get("GPU", 0), resources.get("CPU", 0)),
            default={},
        )
        raise UserError(
            f"no node of the Ray cluster has {self.options.cpus_per_trial:g} CPUs and"
            f" {self.options.gpus_per_trial:g} GPUs for a trial; the largest has"
            f" {most.get('CPU', 0):g} CPUs and {most.get('GPU', 0):g} GPUs. Ask for less with"
            " --cpus-per-trial and --gpus-per-trial"
        )

    def _held_by(self, node: dict[str, Any]) -> int:
        asked = {"CPU": self.options.cpus_per_trial, "GPU": self.options.gpus_per_trial}
        return min(
            int(node["Resources"].get(kind, 0.0) / amount + _A_HAIR)
            for kind, amount in asked.items()
            if amount
        )

    def _nodes(self) -> list[dict[str, Any]]:
        import ray

        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        return [node for node in nodes if node["Alive"]]


def _is_connected() -> bool:
    import ray

    return bool(ray.is_initialized())


@contextlib.contextmanager
def _started() -> Iterator[None]:
    """A Ray of this launch, which nobody outside this machine reaches."""
    import ray
    from ray._private import ray_constants

    with _environment(
        {
            # What Ray does by itself on macOS and Windows: all of it listens on 127.0.0.1.
            ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",
            "RAY_USAGE_STATS_ENABLED": os.environ.get("RAY_USAGE_STATS_ENABLED", "0"),
        }
    ):
        before = ray_constants.ENABLE_RAY_CLUSTER
        ray_constants.ENABLE_RAY_CLUSTER = False
        try:
            with _initialised("local", include_dashboard=False):
                yield
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = before
    assert not ray.is_initialized()


@contextlib.contextmanager
def _joined(address: str) -> Iterator[None]:
    _refuse_silence(address)
    with _initialised(address):
        yield


def _refuse_silence(address: str) -> None:
    """Raises UserError where nothing answers; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", or something that Ray knows and we do not
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"nothing answers at the Ray address {address} ({error}). Look with 'ray status' on"
            " the cluster; give --address host:6379, or ray://host:10001 from outside"
        ) from None


@contextlib.contextmanager
def _initialised(address: str, **options: Any) -> Iterator[None]:
    import ray

    with _signal_handlers_kept():
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise UserError(f"Ray cannot be used ({address}): {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Puts back what Ray replaces: SIGTERM would end this process at once."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keeps Ray's reports of dead nodes off standard output, whatever ``log_to_driver`` says."""
    from ray._private import worker

    print_ = worker.print_to_stdstream
    worker.print_to_stdstream = lambda *_args, **_options: None
    try:
        yield
    finally:
        worker.print_to_stdstream = print_


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
