"""``nnstudy ensemble`` on a study that was launched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import TINY, Run, Write


@pytest.mark.slow
def test_ensemble_tells_the_result_in_words_and_for_machines(launched: Path, run: Run) -> None:
    asked = ("ensemble", "tiny", "--device", "cpu")
    done = run(*asked)
    assert done.exit_code == 0, done.output
    assert "Warning: there are only 3 candidates for 10 members" in done.stderr
    result = json.loads(run(*asked, "--json").stdout)
    lines = done.stdout.strip().splitlines()
    assert result["event"] == "result"
    assert lines[0] == f"tiny: {result['conclusion']}"
    [heading] = [n for n, line in enumerate(lines) if line.split()[:1] == ["accuracy"]]
    last = lines[heading + 6].split()
    assert " ".join(last[:2]) == "ensemble, calibrated"
    assert float(last[2]) == pytest.approx(
        result["rows"]["ensemble, calibrated"]["accuracy"]["mean"], abs=1e-4
    )
    members = [line.split()[0] for line in lines if line.startswith("  search/")]
    assert members == [f"search/{member['trial']}" for member in result["members"]]
    assert json.loads((launched / result["file"]).read_text())["digest"] == result["digest"]
    assert result["test"] is None
    assert "no differences" in run("doctor", "tiny").stdout

    tested = run(*asked, "--test").stdout
    assert "on the test part: best of the search: accuracy" in tested
    assert "the test part was looked at once; each look is recorded" in tested
    assert "looked at once" in run("status", "tiny").stdout


@pytest.mark.slow
def test_what_is_trained_for_an_ensemble_is_told_while_it_is(launched: Path, run: Run) -> None:
    asked = ("ensemble", "tiny", "--from", "seeds", "--from", "top-trials", "--members", "2")
    here = ("--no-model", "--workers", "1", "--device", "cpu")
    stopped = run(*asked, *here, "--timeout", "0.001")
    assert stopped.exit_code == 0
    assert "of 2 trainings of the best trial are finished" in stopped.stderr
    assert f"nnstudy {' '.join(asked)} {' '.join(here)} --timeout 0.001" in stopped.stderr
    lines = [json.loads(line) for line in run(*asked, *here, "--json").stdout.splitlines()]
    assert [line["trial"] for line in lines if line["event"] == "end"] == [0, 1]
    assert lines[-1]["event"] == "result"
    done = run(*asked, *here).stdout.strip().splitlines()
    assert done[0] == f"tiny: {lines[-1]['conclusion']}"


@pytest.mark.slow
def test_a_launch_searches_and_makes_an_ensemble(run: Run, write: Write) -> None:
    write("study.py", TINY)
    here = ("--workers", "1", "--device", "cpu", "--no-preflight", "--ensemble")
    lines = [
        json.loads(line) for line in run("launch", "study.py", *here, "--json").stdout.splitlines()
    ]
    told = lines[-1]["ensemble"]
    assert {one["trial"] for one in told["candidates"]} == {0, 1, 2}
    again = run("launch", "study.py", *here)
    assert again.exit_code == 0
    assert f"\ntiny: {told['conclusion']}\n" in again.stdout
    refused = run("launch", "study.py", "--trials", "1", "--name", "one", *here)
    assert refused.exit_code == 2
    assert "one: 1 of 1 trials finished" in refused.stdout
    assert "no ensemble was made: an ensemble needs at least two networks" in refused.stderr
    assert run("launch", "study.py", "--quick", "--ensemble").exit_code == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--members", "4"), "4 members were asked for, but 'tiny' has kept only 3"),
        (("--members", "1"), "1 is not in the range"),
        (("--from", "nowhere"), "'nowhere' is not one of"),
        (("--from", "average"), "'tiny' has kept nothing that could be averaged"),
        (("--combine", "weights"), "the weights of several networks are not averaged"),
        (("--select", "all", "--bags", "2"), "belongs to --select greedy"),
    ],
)
def test_bad_input_is_refused_before_anything_is_computed(
    launched: Path, run: Run, wrong: tuple[str, ...], message: str
) -> None:
    result = run("ensemble", "tiny", *wrong)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (launched / "mlruns" / "ensembles").exists()
