from __future__ import annotations

from functools import partial
from typing import Any

import optuna
import pytest
import torch
from torch import nn

from nnstudy import OwnLoop, Recipe
from nnstudy.engines.smallest import smallest_point

SGD = partial(torch.optim.SGD, lr=0.1)


def test_parameters_of_size_are_found_whatever_they_are_called_and_others_stay() -> None:
    def recipe(trial: optuna.Trial) -> Recipe:
        width = trial.suggest_int("rate_of_growth", 4, 64, log=True)
        squeeze = trial.suggest_int("squeeze", 1, 4)  # the larger, the smaller the network
        kind = trial.suggest_categorical("kind", ["wide", "narrow"])
        lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
        trial.suggest_int("batch_size", 10, 90)
        units = width * (2 if kind == "wide" else 1) * 4 // squeeze
        return Recipe(network=nn.Linear(10, units), optimizer=partial(torch.optim.SGD, lr=lr))

    point = smallest_point(recipe, {})
    assert point.params == {
        "rate_of_growth": 4,
        "squeeze": 4,
        "kind": "narrow",
        "lr": pytest.approx(0.01),
        "batch_size": 50,
    }
    assert point.weights == 11 * 4


def test_what_only_a_small_network_asks_for_is_looked_at_too() -> None:
    def recipe(trial: optuna.Trial) -> Recipe:
        if trial.suggest_categorical("cell", ["big", "small"]) == "big":
            units = trial.suggest_int("big", 50, 60)
        else:
            units = trial.suggest_int("small", 2, 9)
        return Recipe(network=nn.Linear(1, units), optimizer=SGD)

    point = smallest_point(recipe, {"cell": "big"})
    assert point.params == {"cell": "small", "small": 2}


def test_corners_that_cannot_be_built_are_passed_by() -> None:
    def recipe(trial: optuna.Trial) -> Recipe:
        units = trial.suggest_int("units", 0, 10)
        if units == 0:
            raise ValueError("no units")
        depth = trial.suggest_int("depth", 1, 3)
        return Recipe(network=nn.Linear(depth, units), optimizer=SGD)

    assert smallest_point(recipe, {}).params == {"units": 5, "depth": 1}


def test_an_error_at_the_start_is_raised() -> None:
    def recipe(trial: optuna.Trial) -> Recipe:
        raise ValueError("never")

    with pytest.raises(ValueError, match="never"):
        smallest_point(recipe, {})


def test_without_a_network_whole_numbers_are_at_their_lowest() -> None:
    def recipe(trial: optuna.Trial) -> Any:
        trial.suggest_int("units", 3, 9)
        trial.suggest_float("lr", 1e-3, 1e-1, log=True)
        return iter([{"loss/valid": 1.0}])

    point = smallest_point(recipe, {"units": 8})
    assert point.params == {"units": 3, "lr": pytest.approx(0.01)}
    assert point.weights is None


def test_the_network_of_an_own_loop_and_weights_that_must_be_real_are_counted() -> None:
    def recipe(trial: optuna.Trial) -> OwnLoop:
        network = nn.Linear(2, trial.suggest_int("units", 2, 8))
        network.weight.detach().sum().item()  # impossible without weights
        return OwnLoop(epochs=iter([{"loss/valid": 1.0}]), network=network)

    point = smallest_point(recipe, {})
    assert (point.params, point.weights) == ({"units": 2}, 6)
