"""Numbers and figures of the README are those of the recorded results."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.docs.markdown import ROOT


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("figures", ROOT / "docs" / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["figures"] = module
    spec.loader.exec_module(module)
    return module


def test_readme_shows_the_recorded_results(figures: ModuleType) -> None:
    readme = figures.README.read_text()
    assert figures.BEGIN in readme
    assert figures.END in readme
    current = figures.with_results(readme, figures.load())
    assert readme == current, "run: python docs/figures.py"


def test_figures_of_recorded_results_are_drawn(figures: ModuleType) -> None:
    for name in figures.load().keys() & figures.DRAWINGS.keys():
        assert (figures.IMAGES / f"{name}.svg").exists(), "run: python docs/figures.py"


def test_every_result_has_its_place(figures: ModuleType) -> None:
    assert figures.load().keys() <= figures.ROWS.keys()


def test_table_says_what_was_measured(figures: ModuleType) -> None:
    text = figures.table({"nielsen_mnist": nielsen(), "overhead": overhead()})
    assert "best of 20 trials" in text
    assert (
        "2 seeds | **98.05%** (95 % interval 97.41% to 98.69%; searches 98.00% to 98.10%)" in text
    )
    assert "| 98.0% ± 0.2 points |" in text
    assert "**1.06** (median of 2 pairs, 1.04 to 1.08) | at most 1.15 |" in text
    assert "a processor, 2 cores, Python 3.11.9, PyTorch 2.13.0, 2030-01-02" in text


def test_without_results_the_readme_says_so(figures: ModuleType) -> None:
    readme = f"# x\n{figures.BEGIN}\nold\n{figures.END}\nrest\n"
    assert figures.with_results(readme, {}) == (
        f"# x\n{figures.BEGIN}\n{figures.NOTHING}\n{figures.END}\nrest\n"
    )


def test_same_results_give_the_same_figures(figures: ModuleType, tmp_path: Path) -> None:
    results = {"nielsen_mnist": nielsen(), "overhead": overhead()}
    first = [path.read_bytes() for path in figures.draw(results, tmp_path)]
    second = [path.read_bytes() for path in figures.draw(results, tmp_path)]
    assert len(first) == 2
    assert first == second


def about() -> dict[str, Any]:
    return {
        "command": "python benchmarks/x.py",
        "date": "2030-01-02",
        "versions": {"python": "3.11.9", "torch": "2.13.0"},
        "machine": {"processor": "a processor", "cores": 2},
    }


def nielsen() -> dict[str, Any]:
    searches = [
        {"seed": seed, "best": best, "first_trial": best - 0.002, "trials": 20}
        for seed, best in enumerate([0.98, 0.981])
    ]
    return {
        **about(),
        "expected": 0.98,
        "tolerance": 0.002,
        "searches": searches,
        "mean": 0.9805,
        "interval_95": [0.97415, 0.98685],
    }


def overhead() -> dict[str, Any]:
    pairs = [
        {"nnstudy": 1.04, "bare": 1.0, "loss": 0.1},
        {"nnstudy": 1.08, "bare": 1.0, "loss": 0.1},
    ]
    case = {
        "pairs": pairs,
        "ratio": 1.06,
        "median_ratio": 1.06,
        "least_ratio": 1.04,
        "greatest_ratio": 1.08,
    }
    return {**about(), "expected": 1.15, "processes": 1, "cases": {"perceptron": case}}
