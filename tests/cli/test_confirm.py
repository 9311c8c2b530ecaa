"""``nnstudy confirm`` on a study that was launched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Run

ASKED = ("confirm", "tiny", "--top", "2", "--seeds", "2", "--workers", "1", "--device", "cpu")


@pytest.mark.slow
def test_confirm_tells_the_result_in_words_and_for_machines(launched: Path, run: Run) -> None:
    done = run(*ASKED)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert (
        "confirming 2 configurations of stage 'search' with 2 seeds each: 4 trainings" in lines[0]
    )
    [heading] = [n for n, line in enumerate(lines) if line.split()[:2] == ["trial", "mean"]]
    assert lines[heading - 1].startswith("tiny: ")
    assert "on the test part, mean of 2 trainings of trial" in done.stdout
    assert "the test part was looked at once" in done.stdout

    again = run(*ASKED, "--json").stdout.splitlines()
    result = json.loads(again[-1])
    assert result["event"] == "result"
    assert f"tiny: {result['conclusion']}" == lines[heading - 1]
    assert [one["trial"] for one in result["configurations"]] == [
        int(line.split()[0]) for line in lines[heading + 1 : heading + 3]
    ]
    assert result["test_looks"] == 1

    status = run("status", "tiny").stdout
    assert "tiny/confirm: 4 of 4 trials finished" in status
    assert f"  {result['conclusion']}" in status
    assert "Warning" not in status
    assert run("evaluate", "tiny", "--part", "test", "--device", "cpu").exit_code == 0
    assert "Warning: the test part of tiny was looked at 2 times" in run("status", "tiny").stdout
    later = run(*ASKED)
    assert "Warning: the test part was looked at 2 times in all" in later.stdout
    enqueued = run("enqueue", "tiny", "lr=0.1", "units=8")
    assert "enqueued in tiny/search" in enqueued.stdout
    assert "launch tiny --trials 4" in enqueued.stdout


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--seeds", "1"), "1 is not in the range"),
        (("--top", "0"), "0 is not in the range"),
        (("--stage", "fine"), "no stage 'fine' to confirm; it has: search"),
        (("--gpus-per-trial", "1"), "add --engine ray"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(
    launched: Path, run: Run, wrong: tuple[str, str], message: str
) -> None:
    result = run("confirm", "tiny", *wrong)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "tiny/confirm" not in run("status", "tiny").stdout
