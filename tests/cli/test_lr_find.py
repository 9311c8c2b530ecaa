from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from .conftest import TINY, Run, Write


def size_of_png(path: Path) -> tuple[int, int]:
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", header[16:24])
    return width, height


def test_interval_line_and_comparison_are_told_and_a_picture_drawn(
    run: Run, write: Write, tmp_path: Path
) -> None:
    write("tiny.py", TINY)
    result = run("lr-find", "tiny.py", "--steps", "150")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["seed 0", "seed 1", "seed 2"]
    assert "tiny, SGD with units=8, lr=0.1" in lines
    assert any(line.startswith("to search: 0.0") and "beginning with 0." in line for line in lines)
    assert any(line.startswith('  lr = trial.suggest_float("lr", 0.0') for line in lines)
    assert any(line.startswith("the recipe's range today, 0.01 to 1, ") for line in lines)
    width, height = size_of_png(tmp_path / "tiny-rates.png")
    assert width > height > 300
    # Nothing else is left behind.
    left = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert left == {"tiny.py", "tiny-rates.png"}


def test_json_has_point_tests_and_suggestion(run: Run, write: Write, tmp_path: Path) -> None:
    write("tiny.py", TINY)
    result = run(
        *("lr-find", "tiny.py", "--set", "units=16", "--set", "lr=0.5", "--seeds", "2"),
        *("--low", "1e-4", "--high", "3", "--steps", "100", "--output", "other.png", "--json"),
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["params"] == {"units": 16, "lr": 0.5}
    assert found["parameter"] == "lr"
    assert found["asked"] == {"low": 0.01, "high": 1.0, "log": True}
    assert found["picture"] == "other.png"
    assert (tmp_path / "other.png").exists()
    first, second = found["tests"]
    assert first["rates"][0] == pytest.approx(1e-4)
    assert first["losses"] != second["losses"]
    suggestion = found["suggestion"]
    # Of this network at every rate from 0.03 to 0.5 ten epochs learn nine digits of ten.
    assert suggestion["low"] <= 0.1 <= suggestion["start"] * 3
    assert suggestion["start"] <= suggestion["high"] <= 3.0


def test_it_gives_the_same_twice(run: Run, write: Write) -> None:
    write("tiny.py", TINY)
    command = ("lr-find", "tiny.py", "--seeds", "1", "--steps", "50", "--json")
    assert run(*command).output == run(*command).output


BLIND = TINY.replace(
    "network=models.mlp(data.shape, [units], data.outputs)",
    "network=torch.nn.Sequential(models.mlp(data.shape, [units], data.outputs), Blind())",
).replace(
    "def recipe",
    """class Blind(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scores = torch.nn.Parameter(torch.randn(10))

    def forward(self, x):
        return 0 * x + self.scores


def recipe""",
)


def test_where_nothing_falls_it_says_so(run: Run, write: Write) -> None:
    write("blind.py", BLIND)
    result = run("lr-find", "blind.py", "--steps", "100")
    assert result.exit_code == 0, result.output
    assert "seed 0: the loss does not fall" in result.output
    assert "no rate makes the loss fall: before any step it is" in result.output
    assert "an answer that ignores the inputs has 2.3" in result.output
    assert "suggest_float" not in result.output


def test_a_rate_that_is_no_parameter_is_not_compared(run: Run, write: Write) -> None:
    write("fixed.py", TINY.replace("lr=lr)", "lr=0.1)").replace('"lr", 0.01', '"dropout", 0.02'))
    result = run("lr-find", "fixed.py", "--steps", "100", "--seeds", "1")
    assert result.exit_code == 0, result.output
    assert "no parameter of the recipe has the rate's value" in result.output


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("1e-6, 1e-4, log=True", "leaves out 0.0001 to "),
        ("1e-6, 30.0, log=True", "goes further down and goes further up"),
        ("0.01, 0.5", "but rates act by factors: say log=True"),
    ],
)
def test_the_recipe_s_range_is_compared(asked: str, told: str, run: Run, write: Write) -> None:
    write("mine.py", TINY.replace("0.01, 1.0, log=True", asked))
    result = run("lr-find", "mine.py", "--steps", "100", "--seeds", "1")
    assert told in result.output


OWN_LOOP = TINY.replace("    return Recipe(", "    return iter([{}]) or Recipe(")


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        (TINY, ["--set", "unit=8"], "asks for no parameter 'unit' at this point"),
        (TINY, ["--set", "units=9"], "units = 9 lies outside one of 8, 16"),
        (TINY, ["--set", "units"], "KEY=VALUE"),
        (TINY, ["--low", "1", "--high", "0.1"], "lowest rate must be above 0 and below"),
        (TINY, ["--low", "0"], "--low"),
        (TINY, ["--steps", "1"], "--steps"),
        (TINY, ["--seeds", "0"], "--seeds"),
        (TINY, ["--output", "rates.jpg"], "should end in .png"),
        (TINY, ["--output", "nowhere/rates.png"], "there is no folder nowhere"),
        (TINY, ["--device", "warp"], "unknown device 'warp'"),
        (OWN_LOOP, [], "returns a training loop of its own"),
        (TINY.replace("[units]", "[unitz]"), [], "NameError: name 'unitz'"),
        (TINY.replace("data.outputs", "3"), [], "do not fit the loss and the targets"),
    ],
)
def test_bad_input_ends_with_2_and_leaves_nothing(
    text: str, arguments: list[str], expected: str, run: Run, write: Write, tmp_path: Path
) -> None:
    write("mine.py", text)
    result = run("lr-find", "mine.py", *arguments)
    assert result.exit_code == 2, result.output
    assert expected in result.stderr
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"mine.py"}


def test_missing_data_are_named_with_what_to_do(run: Run) -> None:
    result = run("lr-find", "mnist_mlp")
    assert result.exit_code == 2
    assert "--download" in result.stderr
