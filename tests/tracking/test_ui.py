from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from nnstudy.errors import UserError
from nnstudy.tracking import Tracker, serve, ui
from tests.tracking.served import Server

_SERVE = """
import sys
from nnstudy.tracking import serve
def announce(url):
    print(url, flush=True)
sys.exit(serve(sys.argv[1], sys.argv[2], port=int(sys.argv[3]), experiment="digits", announce=announce))
"""


def start(uri: str, artifacts: str, port: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _SERVE, uri, artifacts, str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def processes_with(text: str) -> list[str]:
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            lines.append(line)
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_ui_serves_the_store_until_it_is_ended(
    tracker: Tracker, store: tuple[str, str], ending: signal.Signals
) -> None:
    experiment = tracker.experiment("digits", metric="accuracy/valid")
    tracker.saved_view(experiment, ["lr"], "accuracy/valid", ascending=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(*store, port=taken.getsockname()[1])
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.endswith(f"/#/experiments/{experiment}/runs?viewStateShareKey=nnstudy")
        assert f":{taken.getsockname()[1]}/" not in url
    base = url.partition("/#")[0]
    assert base.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(f"{base}/") as page:
        assert b"MLflow" in page.read()
    port = base.rpartition(":")[2]
    assert processes_with(f"--port {port}")
    assert store[0] not in " ".join(processes_with(f"--port {port}"))

    process.send_signal(ending)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert errors == ""
    assert processes_with(f"--port {port}") == []


@pytest.mark.slow
def test_a_tracking_server_has_the_ui_itself(store: tuple[str, str], tracker: Tracker) -> None:
    server = Server(*store)
    experiment = tracker.experiment("digits", metric="accuracy/valid")
    told: list[str] = []
    try:
        assert serve(server.url, experiment="digits", announce=told.append) == 0
    finally:
        server.stop()
    assert told == [f"{server.url}/#/experiments/{experiment}/runs"]


def test_a_server_that_does_not_start_is_said_with_its_last_words(
    store: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui.sys, "executable", "/bin/false")
    with pytest.raises(UserError, match="ended at once"):
        serve(*store, port=0)


def test_an_address_of_another_machine_is_refused(store: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="no address of this machine"):
        serve(*store, host="192.0.2.1")
