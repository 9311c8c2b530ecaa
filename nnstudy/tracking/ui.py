"""The MLflow UI on the right store, for this machine only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import IO

from nnstudy.errors import UserError
from nnstudy.tracking import views
from nnstudy.tracking.location import Location
from nnstudy.tracking.tracker import Tracker

_START_SECONDS = 90
_STOP_SECONDS = 5


def serve(
    uri: str | None = None,
    artifacts: str | None = None,
    host: str = "127.0.0.1",
    port: int = 5000,
    *,
    experiment: str | None = None,
    announce: Callable[[str], None] = lambda url: None,
) -> int:
    """Runs the MLflow UI until Ctrl-C.

    The store's URI goes to the server by environment, never on its command line, where a
    password would be seen by everyone on the machine. MLflow's usage telemetry is off unless
    ``MLFLOW_DISABLE_TELEMETRY`` says otherwise.

    Args:
        uri: Tracking URI, see ``Tracker``. For an MLflow server nothing is started, since the
            server has the UI: only its address is announced.
        artifacts: Root of the artifacts, see ``Tracker``.
        host: Address to listen on; only this machine by default.
        port: Port to listen on; where it is taken, a free one is.
        experiment: Name of the experiment whose runs are shown first.
        announce: Called with the address, once the UI answers.

    Returns:
        The exit code: 0 when ended by Ctrl-C.

    Raises:
        UserError: The store cannot be used, or the server does not start.
    """
    tracker = Tracker(uri, artifacts)
    page = _page(tracker, experiment)
    if tracker.location.is_server:
        announce(page(tracker.masked_uri))
        return 0
    port = _free_port(host, port)
    base = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}"  # noqa: S104
    with _terminate_quietly(), tempfile.TemporaryFile() as output:
        server = _start(tracker.location, host, port, output)
        try:
            _wait_until_ready(server, base, output)
            announce(page(base))
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            _stop(server)


def _page(tracker: Tracker, experiment: str | None) -> Callable[[str], str]:
    found = tracker.client.get_experiment_by_name(experiment) if experiment else None
    if found is None:
        return lambda base: f"{base}/"
    view = views.VIEW_ID if f"mlflow.sharedViewState.{views.VIEW_ID}" in found.tags else None
    return lambda base: views.runs_url(base, found.experiment_id, view)


def _free_port(host: str, port: int) -> int:
    for candidate in (port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((host, candidate))
                return int(probe.getsockname()[1])
    raise UserError(f"Cannot listen on {host}: it is no address of this machine")


def _start(location: Location, host: str, port: int, output: IO[bytes]) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": location.uri,
        "MLFLOW_DISABLE_TELEMETRY": os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true"),
        # background jobs serve MLflow's language-model features and take two more processes
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": os.environ.get(
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false"
        ),
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    command += ["--workers", "1", "--artifacts-destination", str(location.artifacts)]
    return subprocess.Popen(  # noqa: S603 - our own command line
        command, env=environment, stdout=output, stderr=output, start_new_session=True
    )


def _wait_until_ready(server: subprocess.Popen[bytes], base: str, output: IO[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise UserError(f"The MLflow server ended at once:\n{_tail(output)}")
        if _answers(base):
            return
        time.sleep(0.1)
    raise UserError(f"The MLflow server did not answer in {_START_SECONDS} s:\n{_tail(output)}")


def _answers(base: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base}/health", timeout=2):  # noqa: S310 - http, ours
            return True
    except OSError:
        return False


def _tail(output: IO[bytes], lines: int = 15) -> str:
    output.seek(0)
    return "\n".join(output.read().decode(errors="replace").splitlines()[-lines:])


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ends the server and its workers, which share a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(_STOP_SECONDS)
            return


@contextmanager
def _terminate_quietly() -> Iterator[None]:
    """Makes SIGTERM end the server as Ctrl-C does, where signals are ours to handle."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
