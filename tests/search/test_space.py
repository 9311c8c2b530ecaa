from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudy.errors import UserError
from nnstudy.search.space import Space, probe


def recipe(trial: optuna.Trial) -> None:
    trial.suggest_float("lr", 1e-4, 10, log=True)
    depth = trial.suggest_int("depth", 1, 3)
    for layer in range(depth):
        trial.suggest_int(f"units_{layer}", 16, 256, log=True)
    if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
        trial.suggest_float("momentum", 0.5, 0.99)


def test_probes_find_every_parameter_with_its_kind() -> None:
    space = probe(recipe)
    assert list(space.parameters)[:2] == ["lr", "depth"]
    assert set(space.parameters) == {
        *("lr", "depth", "units_0", "units_1", "units_2", "optimizer", "momentum")
    }
    assert space.categorical == ["optimizer"]
    assert "optimizer" not in space.numeric
    assert sorted(space.log_scaled) == ["lr", "units_0", "units_1", "units_2"]
    assert sorted(space.conditional) == ["momentum", "units_1", "units_2"]


def test_recipe_gets_a_real_trial() -> None:
    seen: list[object] = []
    probe(seen.append, probes=3)
    assert all(isinstance(trial, optuna.trial.Trial) for trial in seen)


def test_order_of_asking_changes_neither_values_nor_hash() -> None:
    def points(order: list[str]) -> list[dict[str, Any]]:
        ask: dict[str, Callable[[optuna.Trial], Any]] = {
            "a": lambda trial: trial.suggest_float("a", 0, 1),
            "b": lambda trial: trial.suggest_categorical("b", [1, 2, 3]),
            "c": lambda trial: trial.suggest_int("c", 1, 1000, log=True),
        }
        found: list[dict[str, Any]] = []
        space = probe(lambda trial: found.append({name: ask[name](trial) for name in order}))
        return [*found, {"hash": space.hash}]

    assert points(["a", "b", "c"]) == points(["c", "a", "b"])


def test_values_of_two_choices_are_seen_in_all_combinations() -> None:
    seen = set()

    def ask(trial: optuna.Trial) -> None:
        seen.add((trial.suggest_categorical("a", "xy"), trial.suggest_categorical("b", "xy")))

    probe(ask)
    assert len(seen) == 4


@given(choices=st.integers(1, 25), rare=st.integers(1, 3))
def test_every_choice_is_covered(choices: int, rare: int) -> None:
    seen = set()

    def ask(trial: optuna.Trial) -> None:
        if trial.number % rare == 0:
            seen.add(trial.suggest_categorical("choice", list(range(choices))))

    probe(ask, probes=choices * rare)
    assert seen == set(range(choices))


def test_probing_leaves_the_global_random_state_alone() -> None:
    random.seed(1)
    expected = random.random()
    random.seed(1)
    probe(recipe)
    assert random.random() == expected


def test_starts_are_tried_first_and_complete_the_space() -> None:
    def ask(trial: optuna.Trial) -> None:
        if trial.suggest_float("x", 0, 1) == 0.123:
            trial.suggest_int("hidden", 1, 9)

    assert "hidden" not in probe(ask).parameters
    assert "hidden" in probe(ask, starts=[{"x": 0.123, "hidden": 3}]).parameters


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"lr": 100.0}, r"lr = 100.0 lies outside 0\.0001\.\.10 \(log\)"),
        ({"learning_rate": 0.1}, "no parameter 'learning_rate'"),
        ({"depht": 2}, "Did you mean depth"),
        ({"optimizer": "lion"}, "optimizer.*lion"),
    ],
)
def test_start_outside_the_space_is_refused(start: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        probe(recipe, starts=[start])


@pytest.mark.parametrize(
    "ask",
    [
        lambda trial: trial.suggest_float("width", 2.0, 1.0),
        lambda trial: trial.suggest_float("width", 0.0, 1.0, log=True),
        lambda trial: trial.suggest_int("width", 0, 4, log=True),
        lambda trial: trial.suggest_categorical("width", []),
        lambda trial: (trial.suggest_int("width", 1, 4), trial.suggest_float("width", 1, 4)),
    ],
)
def test_invalid_range_names_the_parameter(ask: Callable[[optuna.Trial], object]) -> None:
    with pytest.raises(UserError, match="Parameter 'width'"):
        probe(ask)


def test_choices_that_differ_between_branches_need_two_names() -> None:
    def ask(trial: optuna.Trial) -> None:
        deep = trial.suggest_categorical("deep", [False, True])
        trial.suggest_categorical("units", [64, 128] if deep else [16, 32])

    with pytest.raises(UserError, match=r"'units'.*use two names"):
        probe(ask)


def test_ranges_may_differ_between_branches() -> None:
    def ask(trial: optuna.Trial) -> None:
        high = 10.0 if trial.suggest_categorical("wide", [False, True]) else 1.0
        trial.suggest_float("lr", 0.1, high, log=True)

    lr = probe(ask).parameters["lr"]
    assert len(lr.distributions) == 2
    assert not lr.conditional
    assert lr.contains(5.0)
    assert not lr.contains(11.0)


def test_exceptions_of_the_recipe_are_recorded_with_their_point() -> None:
    def ask(trial: optuna.Trial) -> None:
        if trial.suggest_int("units", 1, 10) > 8:
            raise MemoryError("too wide")
        trial.suggest_float("lr", 0, 1)

    space = probe(ask)
    assert {failure.params["units"] for failure in space.failures} == {9, 10}
    assert all(isinstance(failure.error, MemoryError) for failure in space.failures)
    assert space.conditional == []  # lr is asked for wherever the recipe comes to its end


def test_pruning_within_the_recipe_is_no_failure() -> None:
    def ask(trial: optuna.Trial) -> None:
        trial.suggest_float("x", 0, 1)
        raise optuna.TrialPruned

    assert probe(ask).failures == ()


def test_space_survives_json() -> None:
    space = probe(recipe)
    again = Space.from_dict(json.loads(json.dumps(space.to_dict())))
    assert again.hash == space.hash
    assert space.differences(again) == []
    assert again.conditional == space.conditional


def test_space_of_a_newer_version_is_refused() -> None:
    with pytest.raises(UserError, match="Upgrade"):
        Space.from_dict({"version": 99, "parameters": {}})


def test_differences_are_told_in_plain_words() -> None:
    def before(trial: optuna.Trial) -> None:
        trial.suggest_float("lr", 1e-4, 10, log=True)
        trial.suggest_int("units", 16, 256, step=16)
        trial.suggest_categorical("act", ["relu", "tanh"])
        trial.suggest_float("decay", 0, 1)
        trial.suggest_float("same", 0, 1)

    def after(trial: optuna.Trial) -> None:
        trial.suggest_float("lr", 1e-3, 1, log=True)
        trial.suggest_int("units", 16, 256)
        if trial.suggest_categorical("act", ["relu", "gelu"]) == "gelu":
            trial.suggest_float("same", 0, 1)
        trial.suggest_float("dropout", 0, 0.5)

    was, now = probe(before), probe(after)
    assert was.hash != now.hash
    assert was.differences(was) == []
    assert was.differences(now) == [
        "lr: was 0.0001..10 (log), is now 0.001..1 (log)",
        "units: was 16..256 (whole, step 16), is now 16..256 (whole)",
        "act: was one of 'relu', 'tanh', is now one of 'relu', 'gelu'",
        "dropout: new, 0..0.5",
        "same: was asked for in each trial, is now asked for in some trials only",
        "decay: no longer asked for",
    ]
