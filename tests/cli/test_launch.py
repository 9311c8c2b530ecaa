from __future__ import annotations

import json
import re
import signal
import sys
import time
from pathlib import Path

import optuna
import pytest

from .conftest import TINY, Run, Write, start

SLOW = TINY.replace(
    "    return Recipe(",
    "    import time\n\n    class Nap:\n        def on_epoch_begin(self, training):\n"
    "            time.sleep(0.3)\n\n    return Recipe(\n        callbacks=[Nap()],",
).replace("trials=3, epochs=2", "trials=2, epochs=8")


def _stored(directory: Path) -> optuna.Study:
    return optuna.load_study(
        study_name="tiny/search", storage=f"sqlite:///{directory}/mlruns/optuna.db"
    )


def test_launch_tells_costs_first_then_trials_then_the_best_and_what_to_type_next(
    launched: Path,
) -> None:
    output = (launched / "output.txt").read_text()
    checked, *lines = output.splitlines()
    # Another test may have checked this very study before.
    assert re.match(r"pre-flight: (\d+ passed|nothing has changed since \d)", checked)
    assert re.match(r"tiny: 3 trials, 6 epochs at most, about .+ with 1 worker", lines[0])
    assert re.fullmatch(r"  storage: sqlite:////.+/mlruns/optuna.db", lines[1])
    best = _stored(launched).best_trial
    assert re.search(
        rf"trial {best.number} complete: accuracy/valid {best.value:.4f} at epoch \d"
        rf" \(units={best.params['units']}, lr=.+\), \d+ ms",
        output,
    )
    assert sum(line.startswith("trial ") for line in lines) == 3
    assert f"best: trial {best.number} of stage search, accuracy/valid {best.value:.4f}" in output
    checkpoint = next(line for line in lines if line.startswith("checkpoint: "))
    assert Path(checkpoint.removeprefix("checkpoint: ")).is_file()
    assert "has learned nothing" not in output
    assert lines[-1] == "next: nnstudy ui tiny"


def test_a_finished_study_is_not_run_again_unless_more_trials_are_wanted(
    launched: Path, run: Run
) -> None:
    result = run("launch", "tiny.py", "--workers", "1")
    assert result.exit_code == 0
    assert "all trials are finished" in result.output
    assert len(_stored(launched).trials) == 3
    result = run("launch", "tiny.py", "--workers", "1", "--trials", "5", "--quiet")
    assert result.exit_code == 0
    assert result.stdout.startswith("tiny: 5 of 5 trials finished (")
    assert len(result.stdout.splitlines()) == 1
    assert len(_stored(launched).trials) == 5


def test_folds_are_told_before_and_after_and_in_the_status(
    run: Run, write: Write, tmp_path: Path
) -> None:
    write("tiny.py", TINY)
    result = run(
        *("launch", "tiny.py", "--workers", "1", "--trials", "2", "--epochs", "1"),
        *("--folds", "3", "--examples", "200", "--no-preflight"),
    )
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[:2] == ["3 folds: 3 times the epochs", lines[1]]
    assert lines[1].startswith("tiny: 2 trials, 6 epochs at most")
    assert "stage search: 2 trials of 3 folds of up to 1 epochs, maximize" in result.output
    best = _stored(tmp_path).best_trial
    told = rf"accuracy/valid {best.value:.4f}, mean of 3 \(deviation 0\.\d+\)"
    assert re.search(rf"trial {best.number} complete: {told}", result.output)
    assert re.search(rf"best: trial {best.number} of stage search, {told}", result.output)
    assert "  each trial: the mean of 3 folds" in run("status", "tiny").output
    again = run("launch", "tiny.py", "--workers", "1", "--folds", "2")
    assert again.exit_code == 2
    assert "folds: was 3, is now 2" in again.stderr
    found = run("evaluate", "tiny")
    assert re.search(r"trial \d at epoch 1 of fold \d, its best, on \d+ validation", found.output)


@pytest.mark.slow
def test_a_search_that_has_learned_nothing_says_so_and_what_to_type(
    run: Run, write: Write, tmp_path: Path
) -> None:
    write("tiny.py", TINY.replace("0.01, 1.0", "1e-9, 1e-8"))
    result = run(
        *("launch", "tiny.py", "--workers", "1", "--trials", "1", "--epochs", "1"),
        *("--data-dir", "here", "--no-preflight"),
    )
    assert result.exit_code == 0
    [verdict] = [line for line in result.output.splitlines() if line.startswith("verdict: at ")]
    assert re.match(r"verdict: at chance: accuracy was .+\. Get a signal first: .+\.$", verdict)
    assert "even the best trial has learned nothing: " in result.output
    assert "nnstudy launch tiny.py --data-dir here --quick, " in result.output
    assert "nnstudy lr-find tiny.py --data-dir here\n" in result.output


def test_options_reach_the_search(run: Run, write: Write, tmp_path: Path) -> None:
    write("tiny.py", TINY)
    result = run(
        *("launch", "tiny.py", "--workers", "1", "--name", "other", "--trials", "2"),
        *("--epochs", "1", "--sampler", "tpe", "--sampler-option", "n_startup_trials=1"),
        *("--pruner", "none", "--seed", "5", "--classes", "0,1", "--examples", "200"),
        *("--valid-examples", "20", "--selection", "0.5", "--validate-every", "100"),
        *("--keep-best", "2", "--checkpoints", "kept", "--storage", "sqlite:///o.db"),
        *("--tracking-uri", "sqlite:///m.db", "--artifacts", "art", "--no-preflight", "--json"),
    )
    assert result.exit_code == 0, result.output
    study = optuna.load_study(study_name="other/search", storage=f"sqlite:///{tmp_path}/o.db")
    plan = study.user_attrs["nnstudy"]
    assert plan["sampler"] == {"name": "tpe", "options": {"n_startup_trials": 1}}
    assert plan["pruner"] == {"name": "none", "options": {}}
    assert (plan["seed"], plan["epochs"], plan["validate_every"]) == (5, 1, 100)
    assert plan["subset"] == {"classes": [0, 1], "examples": 200, "valid_examples": 20}
    assert plan["split"]["selection"] == 0.5
    assert plan["data"]["examples"]["train"] == 200
    assert len(study.trials) == 2
    assert len(list((tmp_path / "kept").rglob("best-*.safetensors"))) == 4
    assert not (tmp_path / "mlruns").exists()


def test_changed_space_is_refused_with_what_to_do(launched: Path, run: Run, write: Write) -> None:
    write("tiny.py", TINY.replace("[8, 16]", "[8, 16, 32]"))
    result = run("launch", "tiny.py", "--workers", "1", "--trials", "5")
    assert result.exit_code == 2
    assert "units" in result.stderr
    assert "--name tiny-2" in result.stderr
    assert len(_stored(launched).trials) == 3


@pytest.mark.slow
def test_json_has_events_and_the_result_and_nothing_else(tmp_path: Path, write: Write) -> None:
    write("tiny.py", TINY.replace("    units =", "    print('hello')\n    units ="))
    done = start(["launch", "tiny.py", "--workers", "2", "--json"], tmp_path)
    output, errors = done.communicate(timeout=120)
    assert done.returncode == 0, errors
    events = [json.loads(line) for line in output.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "check"
    assert kinds.index("check") < kinds.index("cost") < kinds.index("stage")
    assert kinds.count("end") == 3
    assert kinds[-1] == "result"
    result = events[-1]
    assert result["complete"] is True
    assert result["finished"] == result["trials"] == 3
    best = _stored(tmp_path).best_trial
    assert result["best"]["trial"] == best.number
    assert result["best"]["params"] == best.params
    assert Path(result["best"]["checkpoint"]).is_file()


def _first_epoch(process: object) -> None:
    for line in process.stdout:  # type: ignore[attr-defined]
        if json.loads(line)["event"] == "epoch":
            return
    raise AssertionError("it ended before the first epoch")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_one_ctrl_c_ends_after_the_epoch_and_a_launch_goes_on(
    workers: int, tmp_path: Path, write: Write
) -> None:
    write("tiny.py", SLOW)
    arguments = ["launch", "tiny.py", "--workers", str(workers), "--json"]
    process = start(arguments, tmp_path)
    _first_epoch(process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "press Ctrl-C again to end now" in errors
    assert "Traceback" not in errors
    result = json.loads(output.splitlines()[-1])
    assert (result["event"], result["complete"]) == ("result", False)
    left = _stored(tmp_path).trials[0]
    assert left.state == optuna.trial.TrialState.RUNNING

    process = start(arguments, tmp_path)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    events = [json.loads(line) for line in output.splitlines()]
    again = next(e for e in events if e["event"] == "trial" and e["trial"] == left.number)
    assert again["epoch"] >= 1
    assert again["params"] == left.params
    assert len(_stored(tmp_path).trials) == 2


@pytest.mark.slow
def test_two_ctrl_c_end_at_once_and_say_how_to_go_on(tmp_path: Path, write: Write) -> None:
    write("tiny.py", SLOW.replace("sleep(0.3)", "sleep(60 if training.history else 0)"))
    arguments = [
        "launch",
        "tiny.py",
        "--workers",
        "1",
        "--no-preflight",
        "--epochs",
        "20",
        "--json",
    ]
    process = start(arguments, tmp_path)
    _first_epoch(process)
    time.sleep(1)  # well into the second epoch, which takes a minute
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - started < 20
    assert "to go on where it stopped: nnstudy launch tiny.py --workers 1" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_stop_ends_a_running_launch(tmp_path: Path, write: Write, run: Run) -> None:
    write("tiny.py", SLOW)
    arguments = ["launch", "tiny.py", "--workers", "1", "--epochs", "100", "--json"]
    process = start(arguments, tmp_path)
    _first_epoch(process)
    status = run("status", "tiny")
    assert "1 running" in status.stdout
    assert run("stop", "tiny", "--trial", "7").exit_code == 2
    assert run("stop", "tiny", "--trial", "0").exit_code == 0
    end = next(e for e in map(json.loads, process.stdout or ()) if e["event"] == "end")
    assert (end["trial"], end["state"]) == (0, "complete")
    assert end["epochs"] < 100
    _first_epoch(process)
    assert run("stop", "tiny").exit_code == 0
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert json.loads(output.splitlines()[-1])["complete"] is False
    assert "1 interrupted" in run("status", "tiny").stdout


@pytest.mark.slow
def test_a_terminal_gets_a_live_table(tmp_path: Path, write: Write) -> None:
    import os
    import pty
    import subprocess

    write("tiny.py", SLOW.replace("epochs=8", "epochs=4"))
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "nnstudy", "launch", "tiny.py", "--workers", "1"],
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        stdout=follower,
        stderr=subprocess.PIPE,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # Linux' way of saying that the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    process.communicate(timeout=30)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert process.returncode == 0
    assert "1 of 2 trials" in text
    assert re.search(r"\d/4 +0\.\d{4} +\d", text)
    assert "next: nnstudy ui tiny" in text
