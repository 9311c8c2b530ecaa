"""The commands around a launch, on a study that was launched."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from pathlib import Path

import optuna
import pytest
from optuna.trial import create_trial

from .conftest import TINY, Run, Write, start


def _stored(directory: Path) -> optuna.Study:
    return optuna.load_study(
        study_name="tiny/search", storage=f"sqlite:///{directory}/mlruns/optuna.db"
    )


def test_status_shows_states_and_the_best(launched: Path, run: Run) -> None:
    best = _stored(launched).best_trial
    output = run("status").stdout
    assert output.startswith("tiny/search: 3 of 3 trials finished\n")
    assert f"best: accuracy/valid {best.value:.4f}, trial {best.number}" in output
    [stage] = json.loads(run("status", "tiny", "--json").stdout)
    assert stage["best"] == {"trial": best.number, "value": best.value, "params": best.params}
    assert sum(stage["states"].values()) == stage["finished"] == 3


def test_status_tells_the_verdicts_of_a_stage_and_of_each_trial(launched: Path, run: Run) -> None:
    kept = [trial.user_attrs["nnstudy"]["verdicts"] for trial in _stored(launched).trials]
    names = {verdict["name"] for verdicts in kept for verdict in verdicts}
    judged = sum(bool(verdicts) for verdicts in kept)
    [stage] = json.loads(run("status", "tiny", "--json").stdout)
    assert {count["name"] for count in stage["verdicts"]} == names
    assert [trial["verdicts"] for trial in stage["ended"]] == kept
    output = run("status", "tiny").stdout
    for count in stage["verdicts"]:
        assert f"    {count['name']}: {len(count['trials'])} of {judged} trials" in output
    table = run("status", "tiny", "--trials").stdout.splitlines()[-4:]
    assert table[0].split() == ["trial", "ended", "epochs", "reached", "verdicts", "parameters"]
    for line, verdicts in zip(table[1:], kept, strict=True):
        assert (", ".join(verdict["name"] for verdict in verdicts) or "-") in line


def test_the_border_of_a_range_is_told_by_status_and_at_the_end_of_a_launch(
    launched: Path, run: Run
) -> None:
    asked = _stored(launched).trials[0].distributions["lr"]
    for i in range(20):
        lr = 10 ** (-i / 10)
        made = create_trial(value=2.0 + lr, params={"lr": lr}, distributions={"lr": asked})
        _stored(launched).add_trial(made)
    told = (
        "lr: the 3 best and 3 of the 6 good trials lie in the highest 12% of 0.01..1 (log), where"
    )
    assert f"  on the border:\n    {told}" in run("status").stdout
    [stage] = json.loads(run("status", "tiny", "--json").stdout)
    assert stage["borders"][0]["text"].startswith(told)
    assert stage["borders"][0]["wider"]["attributes"]["high"] == 10.0
    launch = ("launch", "tiny.py", "--workers", "1", "--trials", "23")
    shown = run(*launch).stdout
    assert f"\non the border: {told}" in shown
    assert "to search beyond: nnstudy launch tiny.py --trials 23 --workers 1 --extend-borders" in (
        shown
    )
    assert "to search beyond: nnstudy launch tiny --extend-borders" in run("status").stdout
    result = json.loads(run(*launch, "--json").stdout.splitlines()[-1])
    assert result["borders"] == {"search": stage["borders"]}


def test_unknown_stored_study_is_refused_with_those_there_are(launched: Path, run: Run) -> None:
    for command in ("status", "stop", "evaluate"):
        result = run(command, "tinny")
        assert result.exit_code == 2
        assert "stored are: tiny" in result.stderr


def test_stop_says_that_nobody_works(launched: Path, run: Run) -> None:
    result = run("stop", "tiny")
    assert result.exit_code == 2
    assert "nobody works on study 'tiny'" in result.stderr


def test_an_enqueued_point_is_run_when_the_budget_allows(launched: Path, run: Run) -> None:
    result = run("enqueue", "tiny", "lr=0.25")
    assert result.exit_code == 0
    assert "--trials 4" in result.stdout
    assert "1 waiting" in run("status").stdout
    assert run("launch", "tiny.py", "--workers", "1", "--trials", "4", "-q").exit_code == 0
    trials = _stored(launched).trials
    assert len(trials) == 4
    assert trials[3].params["lr"] == 0.25
    assert trials[3].params["units"] in (8, 16)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("lr=7", "lr = 7 lies outside 0.01..1"),
        ("unit=8", "Did you mean units?"),
        ("units=9", "units = 9 lies outside one of 8, 16"),
        ("lr=fast", "lr = 'fast' lies outside"),
    ],
)
def test_a_point_outside_the_space_is_refused(
    point: str, message: str, launched: Path, run: Run
) -> None:
    result = run("enqueue", "tiny", point)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(_stored(launched).trials) == 3


def test_evaluate_finds_the_trials_value_again(launched: Path, run: Run) -> None:
    for trial in _stored(launched).trials:
        arguments = [] if trial == _stored(launched).best_trial else ["--trial", str(trial.number)]
        done = json.loads(run("evaluate", "tiny", *arguments, "--json").stdout)
        assert done["trial"] == trial.number
        if trial.state == optuna.trial.TrialState.COMPLETE:
            assert done["scores"]["accuracy"] == pytest.approx(trial.value, abs=1e-12)
        assert done["test_looks"] == 0


def test_evaluate_measures_the_selection_part(launched: Path, run: Run) -> None:
    output = run("evaluate", "tiny", "--part", "selection").stdout
    assert "on 72 selection examples" in output
    assert "accuracy  0." in output


def test_looks_at_the_test_part_are_recorded_before_they_are_taken(
    launched: Path, run: Run
) -> None:
    assert "first look at the test part" in run("evaluate", "tiny", "--part", "test").stdout
    again = run("evaluate", "tiny", "--trial", "1", "--part", "test", "--json").stdout
    assert json.loads(again)["test_looks"] == 2
    assert "the test part was looked at 2 times" in run("status").stdout
    looks = _stored(launched).user_attrs["nnstudy:test_looks"]
    assert [look["trial"] for look in looks][1] == 1


def test_evaluate_that_cannot_be_done_takes_no_look(launched: Path, run: Run) -> None:
    for path in (launched / "mlruns" / "checkpoints").rglob("*.safetensors"):
        path.unlink()
    # The path is stored with the trial, which was copied from where it was launched.
    result = run("evaluate", "tiny", "--trial", "7", "--part", "test")
    assert result.exit_code == 2
    assert "has no trial 7" in result.stderr
    assert "test part" not in run("status").stdout


def test_evaluate_warns_of_a_changed_study_and_refuses_weights_that_do_not_fit(
    launched: Path, run: Run, write: Write
) -> None:
    plan = _stored(launched).user_attrs["nnstudy"]
    # The reference is the path of the launch; this copy's file is to be changed, not that one.
    plan["reference"] = f"{launched}/tiny.py:study"
    _stored(launched).set_user_attr("nnstudy", plan)
    write("tiny.py", TINY.replace("[units]", "[units, units]"))
    result = run("evaluate", "tiny", "--part", "test")
    assert result.exit_code == 2
    assert "tiny.py changed" in result.stderr
    assert "do not fit the network that the recipe builds now" in result.stderr
    assert "test part" not in run("status").stdout
    write("tiny.py", TINY.replace('"units"', '"width"'))
    result = run("evaluate", "tiny")
    assert result.exit_code == 2
    assert "cannot rebuild trial" in result.stderr


def test_list_shows_what_can_be_launched_and_what_is_stored(
    launched: Path, run: Run, write: Write
) -> None:
    write("studies/mine.py", '"""My own digits."""\n' + TINY)
    output = run("list").stdout
    assert any(
        line.split() == ["mine", "studies", "My", "own", "digits."] for line in output.splitlines()
    )
    assert "digits " in output
    best = _stored(launched).best_value
    assert f"tiny/search  3 of 3    accuracy/valid {best:.4f}" in output
    listed = json.loads(run("list", "--json").stdout)
    assert {"name": "mine", "origin": "studies", "summary": "My own digits."} in listed[
        "launchable"
    ]
    assert listed["stored"][0]["best"] == best


@pytest.mark.slow
def test_ui_serves_the_studys_page_on_this_machine_until_ctrl_c(launched: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start(["ui", "tiny", "--port", str(port)], launched)
    assert process.stdout is not None
    announced = process.stdout.readline()
    assert announced.startswith(f"MLflow: http://127.0.0.1:{port}/#/experiments/")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
        assert b"<title>MLflow" in page.read()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors


def test_new_writes_a_study_that_can_be_listed(run: Run, tmp_path: Path) -> None:
    result = run("new", "mine")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "wrote studies/mine.py",
        "next: nnstudy launch mine",
    ]
    assert "mine " in run("list").stdout
    assert run("new", "mine").exit_code == 2
    other = run("new", "mine", "--directory", str(tmp_path / "elsewhere"))
    assert other.stdout.splitlines()[1] == f"next: nnstudy launch {tmp_path}/elsewhere/mine.py"
