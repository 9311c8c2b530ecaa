"""``nnstudy worker`` and signals to launches: real processes that share a study."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest

from nnstudy.search.leases import Leases
from nnstudy.search.storage import open_storage
from tests.postgres import PostgresServer

from .conftest import ROOT, TINY, Run, Write, start

SLOW = TINY.replace(
    "    return Recipe(",
    "    import time\n\n    class Nap:\n        def on_epoch_begin(self, training):\n"
    "            time.sleep(0.3)\n\n    return Recipe(\n        callbacks=[Nap()],",
).replace("trials=3, epochs=2", "trials=4, epochs=8, pruner='none'")
# From the second trial on, a launch waits until a worker has joined it and has a trial too.
SHARED = SLOW.replace(
    "    import time\n",
    "    import os, pathlib, time\n"
    "    joined = pathlib.Path('joined')\n"
    "    if os.environ.get('JOINING') and trial.study.study_name == 'tiny/search':\n"
    "        joined.touch()\n"
    "    deadline = time.monotonic() + 60\n"
    "    real = trial.study.study_name == 'tiny/search' and trial.number > 0\n"
    "    while real and not joined.exists() and time.monotonic() < deadline:\n"
    "        time.sleep(0.05)\n",
).replace("sleep(0.3)", "sleep(0.05)")
TOY = ROOT / "tests" / "faults" / "studies" / "toy.py"


def stored(storage: str, name: str = "tiny/search") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=open_storage(storage))


def default_storage(directory: Path) -> str:
    return f"sqlite:///{directory}/mlruns/optuna.db"


def steps(directory: Path) -> list[list[int]]:
    """The steps that MLflow has of each trial, in their order."""
    with closing(sqlite3.connect(directory / "mlruns" / "mlflow.db")) as database:
        rows = database.execute(
            "select p.value, m.step from metrics m join params p using (run_uuid)"
            " where p.key = 'trial/number' and m.key = 'loss/valid' order by 1, 2"
        ).fetchall()
    return [[step for number, step in rows if number == n] for n in sorted({n for n, _ in rows})]


def last_line(output: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    assert result["event"] == "result"
    return result


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(0.03)


def first_epoch(process: subprocess.Popen[str]) -> None:
    for line in process.stdout or ():
        if json.loads(line)["event"] == "epoch":
            return
    raise AssertionError("it ended before the first epoch")


def command_lines(processes: Sequence[subprocess.Popen[str]]) -> str:
    """What ps shows of processes and of those that they started."""
    roots = [psutil.Process(process.pid) for process in processes]
    found = [*roots, *(child for root in roots for child in root.children(recursive=True))]
    return "\n".join(" ".join(process.cmdline()) for process in found)


# -- Joining --------------------------------------------------------------------------------


def share_a_study(
    directory: Path, monkeypatch: pytest.MonkeyPatch, *launch: str
) -> tuple[str, str]:
    """Launches ``tiny`` and joins it with a worker; returns what ps showed and all was said."""
    (directory / "tiny.py").write_text(SHARED)
    process = start(["launch", "tiny.py", "--json", "--no-preflight", *launch], directory)
    first_epoch(process)
    monkeypatch.setenv("JOINING", "yes")
    worker = start(["worker", "tiny", "--json"], directory)
    first_epoch(worker)
    shown = command_lines([process, worker])
    said = [*worker.communicate(timeout=120), *process.communicate(timeout=120)]
    assert (worker.returncode, process.returncode) == (0, 0), said
    here, there = last_line(said[0]), last_line(said[2])
    assert here["complete"]
    assert there["complete"]
    assert 1 <= here["ended"] <= 3
    assert there["finished"] == 4
    assert steps(directory) == [list(range(1, 9))] * 4
    assert "Traceback" not in "".join(said)
    return shown, "".join(said)


@pytest.mark.slow
def test_a_worker_joins_a_running_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share_a_study(tmp_path, monkeypatch, "--workers", "1")
    owners = {info.owner for info in leases_of(default_storage(tmp_path)).all().values()}
    assert len(owners) == 2


@pytest.mark.slow
@pytest.mark.postgres
def test_a_worker_joins_on_postgres_and_nobody_sees_the_password(
    tmp_path: Path,
    postgres_url: str,
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NNSTUDY_STORAGE", postgres_url)
    shown, said = share_a_study(tmp_path, monkeypatch, "--workers", "2")
    assert shown.count("worker_process") == 2
    assert postgres_server.password not in shown
    assert postgres_server.password not in said
    # Nor does one that cannot connect tell it.
    monkeypatch.setenv("NNSTUDY_STORAGE", postgres_url.replace("@", "-@"))
    refused = start(["worker", "tiny"], tmp_path)
    assert postgres_server.password not in "".join(refused.communicate(timeout=60))
    assert refused.returncode == 2


def test_a_worker_of_a_finished_study_says_that_it_is_done(launched: Path, run: Run) -> None:
    result = run("worker", "tiny", "--quiet")
    assert (result.exit_code, result.stdout) == (0, "tiny is done; 0 trials ended here\n")
    fields = last_line(run("worker", "tiny", "--json").stdout)
    assert (fields["complete"], fields["timed_out"], fields["ended"]) == (True, False, 0)


@pytest.mark.parametrize(
    ("arguments", "change", "said"),
    [
        (["other"], ("", ""), ["no study 'other' is stored here; stored are: tiny"]),
        (["tiny", "--storage", "sqlite:///no.db"], ("", ""), ["No study is stored at"]),
        (["tiny", "--study", "tiny.py"], ("[8, 16]", "[8, 32]"), ["differs", "units"]),
        (["tiny", "--study", "tiny.py"], ("epochs=2", "epochs=3"), ["epochs: was 2, is now 3"]),
        (["tiny", "--study", "gone.py"], ("", ""), ["There is no study file", "--study path/to"]),
        (["tiny", "--tracking-uri", "sqlite:///no.db"], ("", ""), ["--tracking-uri that it was"]),
        (["tiny", "--timeout", "soon"], ("", ""), ["'soon'"]),
    ],
    ids=["name", "storage", "space", "epochs", "file", "tracking", "timeout"],
)
def test_a_worker_that_would_do_something_else_is_refused(
    launched: Path,
    run: Run,
    write: Write,
    arguments: list[str],
    change: tuple[str, str],
    said: list[str],
) -> None:
    write("tiny.py", TINY.replace(*change))
    result = run("worker", *arguments)
    assert result.exit_code == 2, result.output
    for text in said:
        assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert not (launched / "no.db").exists()
    assert len(stored(default_storage(launched)).trials) == 3


# -- Time that is over ----------------------------------------------------------------------


@pytest.mark.slow
def test_the_end_of_the_time_is_no_failure(tmp_path: Path, write: Write) -> None:
    write("tiny.py", SLOW.replace("epochs=8", "epochs=40"))
    launch = start(["launch", "tiny.py", "--workers", "2", "--timeout", "4s", "--quiet"], tmp_path)
    output, errors = launch.communicate(timeout=60)
    assert launch.returncode == 0, errors
    assert output.startswith("tiny: 0 of 4 trials finished")
    assert output.endswith("; the time is over\n")

    worker = start(["worker", "tiny", "--timeout", "3s", "--quiet"], tmp_path)
    output, errors = worker.communicate(timeout=60)
    assert worker.returncode == 0, errors
    expected = "tiny goes on without this worker; 0 trials ended here; the time is over\n"
    assert output == expected
    assert not leases_of(default_storage(tmp_path)).held()


# -- SIGTERM --------------------------------------------------------------------------------


def leases_of(storage: str) -> Leases:
    return Leases(open_storage(storage), "onlooker")


def trained(diary: Path) -> list[tuple[int, int]]:
    """The minibatches that were trained so far, as (trial, position)."""
    lines = diary.read_text().splitlines() if diary.exists() else []
    entries = [json.loads(line) for line in lines]
    return [(e["trial"], e["number"]) for e in entries if e["what"] == "step"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["launch, 1 worker", "launch, 2 workers", "worker"])
def test_sigterm_hands_back_at_once_and_the_next_launch_goes_on_at_that_minibatch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    diary = tmp_path / "diary"
    monkeypatch.setenv("FAULTS_DIARY", str(diary))
    monkeypatch.setenv("FAULTS_STEP_SECONDS", "0.15")
    workers = 2 if "2" in command else 1
    launch = ["launch", str(TOY), "--trials", "2", "--epochs", "6", "--no-preflight", "--json"]
    launch += ["--workers", str(workers), "--pruner", "none"]
    process = start(launch, tmp_path)
    wait_until(lambda: len(trained(diary)) > 6)
    if command == "worker":
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        before = len(trained(diary))
        process = start(["worker", "toy", "--json"], tmp_path)
        wait_until(lambda: len(trained(diary)) > before + 6)
    leases = leases_of(default_storage(tmp_path))
    assert len(leases.held()) == workers

    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    wait_until(lambda: not leases.held(), 10)
    took = time.monotonic() - sent
    output, errors = process.communicate(timeout=30)

    assert took < 1.5
    assert process.returncode == 130, errors
    assert last_line(output)["complete"] is False
    assert "Traceback" not in errors
    assert not any(info.deaths for info in leases.all().values())

    monkeypatch.setenv("FAULTS_STEP_SECONDS", "0.001")
    process = start(launch, tmp_path)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert last_line(output)["endings"] == {"complete": 2}
    # Each minibatch of each trial was trained once.
    done = trained(diary)
    assert len(done) == len(set(done))
    for trial in (0, 1):
        positions = sorted(position for number, position in done if number == trial)
        assert positions == list(range(1, len(positions) + 1))
    assert steps(tmp_path) == [[1, 2, 3, 4, 5, 6]] * 2
