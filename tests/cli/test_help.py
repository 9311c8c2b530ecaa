from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest

from nnstudy.cli import main
from nnstudy.cli.launch_options import PRUNERS, SAMPLERS
from nnstudy.search import pruners, samplers

from .conftest import Run

HEAVY = ("torch", "optuna", "mlflow", "rich", "sqlalchemy", "numpy", "pandas", "sklearn")


@pytest.mark.parametrize("arguments", [["--help"], ["launch", "--help"], ["evaluate", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom nnstudy.cli import main\n"
        f"main({arguments!r}, standalone_mode=False)\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_help_takes_little_longer_than_importing_click() -> None:
    def seconds(*arguments: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        return time.perf_counter() - started

    pairs = [
        (seconds("-m", "nnstudy", "launch", "--help"), seconds("-c", "import click"))
        for _ in range(7)
    ]
    # Importing click takes 0.07 s on a quiet machine, where help may take 0.3 s.
    assert statistics.median(ours / bare for ours, bare in pairs) < 3


@pytest.mark.parametrize("command", sorted(main.commands))
def test_each_command_explains_itself(command: str, run: Run) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage: nnstudy" in result.output
    if command != "list":
        assert "Example" in result.output


def test_help_documents_exit_codes_and_completion(run: Run) -> None:
    output = run("--help").output
    for code in ("0 ", "1 ", "2 ", "130 "):
        assert f"\n    {code}" in output
    assert "_NNSTUDY_COMPLETE=zsh_source" in output


def test_help_of_launch_groups_options(run: Run) -> None:
    output = run("launch", "--help").output
    headings = ["Search:", "Data:", "Training:", "Storage:", "Output:"]
    positions = [output.index(f"\n{heading}") for heading in headings]
    assert positions == sorted(positions)
    assert positions[0] < output.index("--sampler ") < positions[1]


def test_help_shows_no_password_of_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNSTUDY_STORAGE", "postgresql://me:s3cret@host/db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:s3cret@host/db2")
    for command in main.commands:
        assert "s3cret" not in run(command, "--help").output


def test_the_choices_are_those_of_the_search() -> None:
    assert set(SAMPLERS) == set(samplers.SAMPLERS)
    assert set(PRUNERS) == set(pruners.PRUNERS)


def _completions(words: str, word_number: int) -> list[str]:
    # Zsh's protocol: type, value and help of each item, on three lines.
    code = "from nnstudy.cli import main; main(prog_name='nnstudy')"
    import os

    environment = {
        **os.environ,
        "_NNSTUDY_COMPLETE": "zsh_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(word_number),
    }
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not any(line.endswith("| torch") for line in done.stderr.splitlines())
    return done.stdout.splitlines()[1::3]


def test_completion_knows_commands_studies_and_samplers() -> None:
    assert _completions("nnstudy st", 1) == ["status", "stop"]
    assert _completions("nnstudy launch digi", 2) == ["digits", "digits_rows"]
    assert _completions("nnstudy launch digits --sampler t", 4) == ["tpe"]
