from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .conftest import TINY, Run, Write

ASKED = (
    "--samplers",
    "random,tpe",
    "--seeds",
    "2",
    "--trials",
    "2",
    "--epochs",
    "1",
    "--workers",
    "1",
)


@pytest.mark.slow
def test_a_race_whose_time_is_over_goes_on_and_tells_who_beats_whom(
    run: Run, write: Write, tmp_path: Path
) -> None:
    write("tiny.py", TINY)
    command = ("race", "tiny.py", *ASKED, "--no-preflight")
    first = run(*command, "--timeout", "0.001s")
    assert first.exit_code == 0, first.output
    assert re.search(r"tiny-race: 0 of 8 trials of 4 searches finished; the time is", first.output)
    assert "to go on where it stopped: nnstudy race tiny.py --samplers random,tpe" in first.output

    result = run(*command)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert any(re.match(r"random-1: 2 trials, best accuracy/valid 0\.\d+", line) for line in lines)
    assert any(
        re.match(r"tiny-race: 2 searches of 2 trials by each sampler; 0 of 1 pair can", line)
        for line in lines
    )
    assert any(
        re.match(r"sampler +best accuracy/valid, mean +95 % interval", line) for line in lines
    )
    assert any(re.search(r"cannot be told apart: \w+ is better with proba", line) for line in lines)
    assert "picture and data: mlruns/races/tiny-race" in lines
    assert {path.name for path in (tmp_path / "mlruns/races/tiny-race").iterdir()} == {
        "race.json",
        "race.png",
    }

    told = run("race", "tiny.py", "--json", "--output", "told")
    assert told.exit_code == 0, told.output
    fields = json.loads(told.stdout.splitlines()[-1])
    assert fields["event"] == "result"
    assert fields["complete"]
    assert fields["race"] == json.loads(Path("told/race.json").read_text())
    assert run("race", "tiny.py", "--quiet").stdout.startswith("tiny-race: 2 searches of 2 trials")

    overview = run("status").output
    assert overview.startswith("tiny-race: race, 8 of 8 trials of 4 searches finished; more: ")
    assert len(overview.splitlines()) == 1
    assert "tiny-race/tpe-1: 2 of 2 trials finished" in run("status", "tiny-race").output
    assert len(json.loads(run("status", "--json").output)) == 4
    assert re.search(r"tiny-race \(race\) +8 of 8 +-", run("list").output)
    assert run("doctor", "tiny-race").output.startswith("tiny-race: no differences")
    refused = run("enqueue", "tiny-race", "lr=0.1")
    assert refused.exit_code == 2
    assert "'tiny-race' is a race" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--samplers", "random,tbe"], "Unknown sampler 'tbe'. Did you mean tpe?"),
        (["--samplers", "random"], "two samplers at least, got random"),
        (["--seeds", "1"], "--seeds"),
        (["--sampler-option", "multivariate=true"], "Name the sampler: tpe.multivariate="),
        (["--sampler-option", "gp.n_startup_trials=2"], "given for gp, which does not race"),
        (["--trials", "0"], "--trials"),
        (["--pruner", "wise"], "--pruner"),
        (["--name", ".hidden"], "cannot be the name"),
    ],
)
def test_bad_input_ends_with_2_and_leaves_nothing(
    arguments: list[str], expected: str, run: Run, write: Write, tmp_path: Path
) -> None:
    write("tiny.py", TINY)
    result = run("race", "tiny.py", *arguments)
    assert result.exit_code == 2, result.output
    assert expected in result.stderr
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"tiny.py"}
