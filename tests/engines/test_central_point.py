from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from nnstudy.engines.central_point import ask_for_point
from nnstudy.errors import UserError
from nnstudy.search.distributions import middle


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (FloatDistribution(1e-4, 1.0, log=True), 1e-2),
        (FloatDistribution(0.0, 0.6), 0.3),
        (FloatDistribution(0.0, 0.8, step=0.4), 0.4),
        (IntDistribution(16, 256, log=True), 64),
        (IntDistribution(1, 5), 3),
        (IntDistribution(0, 100, step=20), 40),
        (CategoricalDistribution([None, "a"]), None),
    ],
)
def test_middle_lies_in_the_range_on_its_own_scale(distribution: Any, expected: Any) -> None:
    value = middle(distribution)
    assert value == (pytest.approx(expected) if isinstance(expected, float) else expected)
    assert distribution._contains(distribution.to_internal_repr(value))


def recipe(trial: optuna.Trial) -> dict[str, Any]:
    asked: dict[str, Any] = {"optimizer": trial.suggest_categorical("optimizer", ["sgd", "adam"])}
    if asked["optimizer"] == "sgd":
        asked["lr_sgd"] = trial.suggest_float("lr_sgd", 1e-3, 1.0, log=True)
    else:
        asked["lr_adam"] = trial.suggest_float("lr_adam", 1e-4, 1e-2, log=True)
    asked["units"] = trial.suggest_int("units", 10, 20)
    return asked


def test_a_point_wins_over_a_start_and_a_start_over_the_middle() -> None:
    trial, answer = ask_for_point(
        recipe, point={"optimizer": "adam"}, start={"lr_sgd": 0.5, "units": 11}
    )
    assert answer == {"optimizer": "adam", "lr_adam": pytest.approx(1e-3), "units": 11}
    assert trial.params == answer


def test_what_cannot_be_meant_is_named() -> None:
    with pytest.raises(UserError, match=r"units = 21 lies outside 10..20"):
        ask_for_point(recipe, point={"units": 21}, start={})
    with pytest.raises(UserError, match="optimizer = 'lion' lies outside one of 'sgd', 'adam'"):
        ask_for_point(recipe, point={"optimizer": "lion"}, start={})
    with pytest.raises(UserError, match="no parameter 'lr_adam' at this point"):
        ask_for_point(recipe, point={"lr_adam": 1e-3}, start={})
