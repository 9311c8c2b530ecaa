from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from nnstudy.cli import words
from nnstudy.cli.launch_options import launch_options
from nnstudy.cli.options import parse_value
from nnstudy.cli.retyping import program, retyped


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0304, "30 ms"),
        (3.14, "3.1 s"),
        (37.2, "37 s"),
        (320, "5 min 20 s"),
        (3599.9, "1 h"),
        (7500, "2 h 5 min"),
        (260000, "3.0 days"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.97314, "0.9731"), (1e-5, "1e-05"), (0.0, "0.0000"), (2971.4, "2971.4"), (None, "-")],
)
def test_scores_have_four_digits(value: float | None, text: str) -> None:
    assert words.score(value) == text


def test_columns_are_aligned() -> None:
    assert words.columns([["a", "b"], ["ccc", "d"]]) == "a    b\nccc  d"


@pytest.mark.parametrize(
    ("text", "value"), [("0.1", 0.1), ("3", 3), ("true", True), ("relu", "relu"), ("[1,2]", [1, 2])]
)
def test_values_are_json_or_text(text: str, value: object) -> None:
    assert parse_value(text) == value


def _typed_again(arguments: list[str]) -> list[str]:
    @click.command()
    @click.argument("study")
    @launch_options
    @click.pass_context
    def launch(ctx: click.Context, /, study: str, **_given: object) -> None:
        click.echo(f"{study}{retyped(ctx)}")

    result = CliRunner().invoke(launch, arguments, catch_exceptions=False)
    return shlex.split(result.stdout)


def test_a_launch_is_typed_again_without_options_of_the_output() -> None:
    given = ["digits", "--trials", "40", "--json", "--download", "--deterministic"]
    given += ["--sampler-option", "n_startup_trials=5", "--classes", "0,1", "--name", "a"]
    again = _typed_again(given)
    assert again[0] == "digits"
    assert set(again) == set(given) - {"--json", "--download"}
    assert _typed_again(again) == again


def test_options_of_the_environment_are_not_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNSTUDY_STORAGE", "sqlite:///o.db")
    assert _typed_again(["digits"]) == ["digits"]


@pytest.mark.parametrize("password", ["s3cret", "with space", "@:/#?", "it's"])
def test_no_password_is_typed_again(password: str) -> None:
    again = _typed_again(["digits", "--storage", f"postgresql://me:{password}@host/optuna"])
    assert again == ["digits", "--storage", "postgresql://me:***@host/optuna"]


def test_commands_are_proposed_as_the_program_can_be_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "my env" / "bin" / "nnstudy"
    script.parent.mkdir(parents=True)
    script.touch(mode=0o755)

    monkeypatch.setattr("sys.argv", [str(script), "launch", "digits"])
    monkeypatch.setenv("PATH", "/usr/bin")
    assert program() == f"'{script}'"

    monkeypatch.setenv("PATH", f"/usr/bin:{script.parent}")
    assert program() == "nnstudy"

    monkeypatch.setattr("sys.argv", ["/somewhere/nnstudy/__main__.py"])
    assert program() == "nnstudy"
