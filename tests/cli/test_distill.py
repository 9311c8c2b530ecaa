"""``nnstudy distill`` on a study that was launched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Run

ASKED = ("distill", "tiny", "--trials", "2", "--workers", "1", "--device", "cpu")


@pytest.mark.slow
def test_distill_tells_the_result_in_words_and_for_machines(launched: Path, run: Run) -> None:
    assert run("ensemble", "tiny", "--device", "cpu", "--no-model").exit_code == 0
    done = run(*ASKED)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    rows = [line.split("  ")[1] for line in lines if line.startswith("  ")]
    for name in ("single best", "ensemble", "trained on the labels alone", "distilled"):
        assert name in rows
    assert {"distill/0", "distill/1"} <= set(rows)
    result = json.loads(run(*ASKED, "--json").stdout.splitlines()[-1])
    assert (result["event"], result["complete"], result["student"]) == ("result", True, 1)
    status = run("status", "tiny").stdout
    assert "tiny/distill: 2 of 2 trials finished" in status
    assert f"  {result['conclusion']}" in status
    assert "the test part" not in status
    assert run("evaluate", "tiny", "--stage", "distill", "--device", "cpu").exit_code == 0
    assert "no differences" in run("doctor", "tiny").stdout


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((), "Make one first: nnstudy ensemble tiny"),
        (("--trials", "1"), "1 is not in the range"),
        (("--epochs", "0"), "0.0 is not in the range"),
        (("--stage", "fine"), "no stage 'fine'; it has: search"),
        (("--trial", "9"), "no trial 9"),
        (("--gpus-per-trial", "1"), "add --engine ray"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(
    launched: Path, run: Run, wrong: tuple[str, ...], message: str
) -> None:
    result = run("distill", "tiny", "--output", "nowhere", *wrong)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "tiny/distill" not in run("status", "tiny").stdout
