"""What decides whether a benchmark agrees with what is reported."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudy import Recipe
from nnstudy.study.loading import load_study

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
DEAD_START = ("start", "rescued")
MEASURES = ("accuracy", "first", "roughness", "log_wiggle")


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def reproductions() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield module("reproductions")


expectations = module("expectations")
verdict = expectations.verdict


def test_the_interval_is_students() -> None:
    # 2.919986 is the 95 % quantile of Student's t with two degrees of freedom.
    assert expectations.interval([1.0, 2.0, 3.0]) == pytest.approx(
        (2 - 2.919986 / math.sqrt(3), 2 + 2.919986 / math.sqrt(3))
    )


@pytest.mark.parametrize(
    ("values", "bounds", "expected"),
    [
        ([0.9, 1.0, 1.1], {"low": 0.0}, "agree"),
        ([-0.9, -1.0, -1.1], {"low": 0.0}, "disagree"),
        ([-0.2, 0.1, 0.3], {"low": 0.0}, "cannot tell"),
        ([0.10, 0.098, 0.101], {"high": 0.12}, "agree"),
        ([0.965, 0.966, 0.967], {"low": 0.965, "high": 0.975}, "cannot tell"),
        ([0.970, 0.971, 0.972], {"low": 0.965, "high": 0.975}, "agree"),
        ([0.90, 0.91, 0.92], {"low": 0.965, "high": 0.975}, "disagree"),
        ([0.0, 0.0, 0.0], {"low": 0.0}, "disagree"),
    ],
)
def test_an_expectation_is_agreed_to_where_the_whole_interval_lies_in_its_range(
    values: list[float], bounds: dict[str, float], expected: str
) -> None:
    assert verdict(values, **bounds) == expected


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.floats(-0.5, 0.5))
def test_what_agrees_to_be_above_agrees_not_to_be_below(values: list[float], bound: float) -> None:
    opposite = {"agree": "disagree", "disagree": "agree", "cannot tell": "cannot tell"}
    above, below = verdict(values, low=bound), verdict(values, high=bound)
    if bound not in expectations.interval(values):
        assert below == opposite[above]


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan], [1.0, math.inf]])
def test_too_few_values_and_such_as_are_none_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"spread|numbers"):
        verdict(values, low=0.0)


def test_equal_networks_are_seldom_told_apart() -> None:
    rng = np.random.default_rng(1)
    told = [verdict(list(rng.normal(size=3)), low=0.0) for _ in range(2000)]
    # 5 % each, plus or minus four standard errors.
    for wrong in ("agree", "disagree"):
        assert abs(told.count(wrong) / 2000 - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 2000)


def test_gains_are_taken_seed_by_seed_and_slopes_by_doubling() -> None:
    arms = {
        "1": [{"accuracy": 0.1}, {"accuracy": 0.3}],
        "2": [{"accuracy": 0.2}, {"accuracy": 0.3}],
        "8": [{"accuracy": 0.4}, {"accuracy": 0.3}],
    }
    assert expectations.gain(["8"], ["1", "2"])(arms) == pytest.approx([0.25, 0.0])
    assert expectations.lead(["1", "2"])(arms) == pytest.approx([-0.2, 0.0])
    assert expectations.slope({"1": 1, "2": 2, "8": 8})(arms) == pytest.approx([0.1, 0.0])


def test_every_expectation_finds_its_arms(reproductions: ModuleType) -> None:
    comparisons = {**reproductions.COMPARISONS, "dead start": SimpleNamespace(arms=DEAD_START)}
    for expectation in reproductions.EXPECTATIONS:
        arms = {
            arm: [dict.fromkeys(MEASURES, 0.1 * seed) for seed in range(3)]
            for arm in comparisons[expectation.comparison].arms
        }
        assert len(expectation.judged(arms)["values"]) == 3


def test_every_arm_is_a_point_of_its_study(reproductions: ModuleType) -> None:
    data = SimpleNamespace(shape=(1, 28, 28), outputs=10, train=range(100))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a value out of its range
        for comparison in reproductions.COMPARISONS.values():
            study = load_study(comparison.study).study
            for points in comparison.arms.values():
                for point in points:
                    trial = optuna.trial.FixedTrial({**comparison.shared, **point})
                    assert isinstance(study.recipe(trial, data), Recipe)


def test_recorded_verdicts_are_those_of_the_recorded_figures() -> None:
    result = json.loads((BENCHMARKS / "results" / "reproductions.json").read_text())
    assert result["expectations"]
    for found in result["expectations"]:
        low = -math.inf if found["low"] is None else found["low"]
        high = math.inf if found["high"] is None else found["high"]
        assert found["verdict"] == verdict(found["values"], low, high), found["what"]
