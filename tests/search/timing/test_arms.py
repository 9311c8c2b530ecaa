"""Which points are laid for a comparison by time."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from nnstudy.errors import UserError
from nnstudy.search.ranges.holding import as_asked
from nnstudy.search.space import Space, probe
from nnstudy.search.timing.arms import arms, check_arms, reference_for, sizes_of, spanning


def choices(trial: optuna.Trial) -> None:
    trial.suggest_float("lr", 1e-3, 1.0, log=True)
    trial.suggest_categorical("batch_size", [64, 16, 32])


def whole(trial: optuna.Trial) -> None:
    trial.suggest_float("lr", 1e-3, 1.0, log=True)
    trial.suggest_int("batch_size", 3, 200)


CHOICES, WHOLE = probe(choices), probe(whole)


def test_each_size_has_the_rate_as_it_is_and_in_proportion_and_the_references_own_once() -> None:
    points = arms(CHOICES, {"batch_size": 32, "lr": 0.5}, {})
    assert points == [
        {"batch_size": 16, "lr": 0.5},
        {"batch_size": 16, "lr": 0.25},
        {"batch_size": 32, "lr": 0.5},
        {"batch_size": 64, "lr": 0.5},
        {"batch_size": 64, "lr": 1.0},
    ]
    assert len(points) == check_arms(CHOICES, "batch_size", ["lr"])


def test_of_a_range_the_powers_of_two_are_compared_and_the_reference() -> None:
    points = arms(WHOLE, {"batch_size": 48, "lr": 0.48}, {})
    assert sorted({point["batch_size"] for point in points}) == [4, 8, 16, 32, 48, 64, 128]
    assert len(points) == 13
    steps = IntDistribution(16, 128, step=16)
    assert sizes_of("batch_size", steps) == [16, 32, 64, 128]


@given(st.integers(3, 200), st.floats(1e-3, 1.0))
def test_rates_are_in_proportion_to_sizes(size: int, rate: float) -> None:
    points = arms(WHOLE, {"batch_size": size, "lr": rate}, {})
    scaled = [point for point in points if point["lr"] != rate]
    assert len(points) == 2 * len({point["batch_size"] for point in points}) - 1
    for point in scaled:
        assert point["lr"] / point["batch_size"] == pytest.approx(rate / size)
    ranges = spanning(as_asked(WHOLE), points)
    assert all(ranges.contain(WHOLE, point) for point in points)


def test_a_scaled_rate_beyond_the_studys_limits_is_left_out() -> None:
    points = arms(CHOICES, {"batch_size": 32, "lr": 0.8}, {"lr": [None, 1.0]})
    assert {"batch_size": 64, "lr": 1.6} not in points
    assert {"batch_size": 16, "lr": 0.4} in points
    assert len(points) == 4


@pytest.mark.parametrize(
    "asked",
    [
        CategoricalDistribution(["small", "large"]),
        CategoricalDistribution([0, 16]),
        CategoricalDistribution([True, 16]),
        CategoricalDistribution([32]),
        IntDistribution(33, 63),
        IntDistribution(33, 65),
        FloatDistribution(16, 64),
    ],
)
def test_what_are_no_two_sizes_is_refused(asked: Any) -> None:
    with pytest.raises(UserError, match=r"batch_size is .* no two sizes to compare"):
        sizes_of("batch_size", asked)


def test_what_cannot_be_scaled_is_refused() -> None:
    space = probe(lambda trial: trial.suggest_int("units", 1, 9) + _size(trial))
    with pytest.raises(UserError, match=r"units cannot be scaled: it is 1\.\.9 \(whole\)"):
        check_arms(space, "batch_size", ["units"])
    two_ways = Space(
        {
            **CHOICES.parameters,
            "lr": probe(_rate_of_two_branches).parameters["lr"],
        }
    )
    with pytest.raises(UserError, match=r"lr is asked for as .* in one way"):
        check_arms(two_ways, "batch_size", ["lr"])


def test_what_others_are_relative_to_must_be_known() -> None:
    with pytest.raises(UserError, match=r"relative to which batch_size.*start={'batch_size'"):
        reference_for("batch_size", ["lr"], {"lr": 0.1})


def _size(trial: optuna.Trial) -> int:
    return int(trial.suggest_categorical("batch_size", [16, 32]))


def _rate_of_two_branches(trial: optuna.Trial) -> None:
    if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
        trial.suggest_float("lr", 1e-3, 1.0, log=True)
    else:
        trial.suggest_float("lr", 1e-5, 1e-1, log=True)
