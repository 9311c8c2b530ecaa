"""``nnstudy check``: a table, its exit code, JSON, files, and what a launch makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import TINY, Run, Write

# Each tensor's gradient is zero, so that not even twenty examples can be learned.
FAULTY = TINY.replace(
    "    return Recipe(",
    "    class Zeroed(torch.autograd.Function):\n"
    "        @staticmethod\n"
    "        def forward(context, x):\n"
    "            return x.clone()\n\n"
    "        @staticmethod\n"
    "        def backward(context, gradient):\n"
    "            return torch.zeros_like(gradient)\n\n"
    "    class Zero(torch.nn.Module):\n"
    "        def forward(self, x):\n"
    "            return Zeroed.apply(x)\n\n"
    "    return Recipe(",
).replace(
    "network=models.mlp(data.shape, [units], data.outputs),",
    "network=torch.nn.Sequential(models.mlp(data.shape, [units], data.outputs), Zero()),",
)


def test_a_sound_study_passes_and_leaves_nothing_behind(
    run: Run, write: Write, tmp_path: Path
) -> None:
    write("tiny.py", TINY)
    result = run("check", "tiny.py")
    assert result.exit_code == 0, result.output
    rows = dict(line.split()[1::-1] for line in result.output.splitlines()[:-1])
    assert rows["overfitting"] == rows["building"] == rows["memory"] == rows["scales"] == "passed"
    assert result.output.splitlines()[-1].startswith("tiny: ")
    assert {path.name for path in tmp_path.iterdir()} <= {"tiny.py", "__pycache__"}


def test_a_fault_ends_with_exit_code_2_and_says_what_to_do(run: Run, write: Write) -> None:
    write("tiny.py", FAULTY)
    result = run("check", "tiny.py")
    assert result.exit_code == 2
    lines = result.output.splitlines()
    failed = next(i for i, line in enumerate(lines) if line.startswith("failed   overfitting"))
    assert lines[failed + 1].lstrip().startswith("-> ")
    assert lines[-1].endswith("a launch would stop here")


@pytest.mark.slow
def test_a_fault_stops_a_launch_before_anything_is_stored(
    run: Run, write: Write, tmp_path: Path
) -> None:
    write("tiny.py", FAULTY)
    result = run("launch", "tiny.py", "--workers", "1")
    assert result.exit_code == 2
    assert "does not pass its pre-flight checks" in result.stderr
    assert "overfitting: " in result.stderr
    assert "nnstudy check" in result.stderr
    assert "--no-preflight" in result.stderr
    assert not (tmp_path / "mlruns").exists()
    result = run("launch", "tiny.py", "--workers", "1", "--no-preflight", "--trials", "1")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "mlruns").exists()


def test_json_is_the_report_and_nothing_else(run: Run, write: Write, tmp_path: Path) -> None:
    write("tiny.py", TINY)
    result = run("check", "tiny.py", "--json", "--output", "checked")
    report = json.loads(result.stdout)
    assert report["study"] == "tiny"
    assert {"building", "overfitting"} <= {entry["check"] for entry in report["results"]}
    assert json.loads((tmp_path / "checked" / "report.json").read_text()) == report
    assert "| passed | building |" in (tmp_path / "checked" / "report.md").read_text()


def test_what_there_is_no_time_for_is_skipped_in_words(run: Run, write: Write) -> None:
    write("tiny.py", TINY)
    result = run("check", "tiny.py", "--timeout", "0.000001")
    assert result.exit_code == 0
    assert "skipped  building" in result.output
    assert "not begun within" in result.output


def test_options_reach_the_check(run: Run, write: Write) -> None:
    write("tiny.py", TINY)
    result = run("check", "tiny.py", "--classes", "0,1", "--workers", "3")
    assert result.exit_code == 0
    assert "2 classes" in result.output
    assert "3 at once" in result.output
