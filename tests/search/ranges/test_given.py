"""A recipe asks for its own ranges and is given a stage's."""

from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from nnstudy.search.ranges.given import Range, RangedTrial, Ranges
from nnstudy.search.ranges.holding import as_asked
from nnstudy.search.space import Space, probe

DECAY = FloatDistribution(1e-6, 1e-1, log=True)


def recipe(trial: optuna.Trial) -> dict[str, Any]:
    lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
    trial.suggest_int("units", 16, 256, log=True)
    trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)
    if trial.suggest_categorical("optimizer", ["adam", "sgd"]) == "sgd":
        trial.suggest_float("momentum", 0.0, 0.9 if lr < 0.1 else 0.5)
    return trial.params


SPACE = probe(recipe)
RANGES = Ranges(
    [
        Range(
            "lr",
            FloatDistribution(1e-4, 1.0, log=True),
            FloatDistribution(1e-2, 0.5, log=True),
            "",
        ),
        Range("weight_decay", DECAY, FloatDistribution(0.0, 0.0), "held"),
        Range("momentum", FloatDistribution(0.0, 0.9), FloatDistribution(0.8, 0.9), ""),
    ]
)


@pytest.mark.parametrize("sampler", ["random", "tpe", "group", "qmc", "gp"])
def test_every_sampler_stays_in_the_given_ranges(sampler: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers: dict[str, optuna.samplers.BaseSampler] = {
        "random": optuna.samplers.RandomSampler(0),
        "tpe": optuna.samplers.TPESampler(seed=0, n_startup_trials=4),
        "group": optuna.samplers.TPESampler(
            seed=0, n_startup_trials=4, multivariate=True, group=True
        ),
        "qmc": optuna.samplers.QMCSampler(seed=0),
        "gp": optuna.samplers.GPSampler(seed=0, n_startup_trials=4),
    }
    study = optuna.create_study(sampler=samplers[sampler])
    for _ in range(8 if sampler == "gp" else 16):
        trial = study.ask()
        params = recipe(RangedTrial(trial, RANGES))
        study.tell(trial, params["lr"])
    for done in study.trials:
        assert 1e-2 <= done.params["lr"] <= 0.5
        assert done.params["weight_decay"] == 0.0
        assert 16 <= done.params["units"] <= 256
        if done.params["optimizer"] == "sgd" and done.params["lr"] < 0.1:
            assert 0.8 <= done.params["momentum"] <= 0.9
        elif done.params["optimizer"] == "sgd":
            assert done.params["momentum"] <= 0.5  # another branch, as asked for
        # What was searched is what is stored.
        assert done.distributions["lr"] == FloatDistribution(1e-2, 0.5, log=True)


def test_a_parameter_that_is_asked_for_twice_has_one_value() -> None:
    study = optuna.create_study()
    trial = RangedTrial(study.ask(), RANGES)
    first = trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)
    assert trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True) == first == 0.0


def test_what_the_recipe_asked_through_the_wrapper_is_the_trials() -> None:
    study = optuna.create_study()
    trial = study.ask()
    recipe(RangedTrial(trial, RANGES))
    study.tell(trial, 1.0)
    assert study.trials[0].params == trial.params
    assert "lr" in trial.params


def test_the_searched_space_has_the_given_ranges() -> None:
    space = RANGES.of(SPACE)
    assert space.parameters["lr"].distributions == (FloatDistribution(1e-2, 0.5, log=True),)
    assert space.parameters["units"] == SPACE.parameters["units"]
    assert set(space.parameters["momentum"].distributions) == {
        FloatDistribution(0.8, 0.9),
        FloatDistribution(0.0, 0.5),
    }
    assert as_asked(SPACE).of(SPACE).hash == SPACE.hash


def test_ranges_come_back_from_what_is_stored() -> None:
    assert Ranges.from_list(RANGES.to_list()) == RANGES


def test_a_later_stage_keeps_what_was_narrowed_and_forgets_what_was_held() -> None:
    asked = as_asked(SPACE)
    later = asked.updated(RANGES)
    given: dict[str, BaseDistribution] = {
        entry.name: entry.given for entry in later.ranges if entry.name in ("lr", "weight_decay")
    }
    assert given == {"lr": FloatDistribution(1e-2, 0.5, log=True), "weight_decay": DECAY}


def test_a_point_outside_is_told() -> None:
    assert RANGES.contain(SPACE, {"lr": 0.1, "optimizer": "adam"})
    assert not RANGES.contain(SPACE, {"lr": 0.9})
    assert not RANGES.contain(SPACE, {"unknown": 1})


def test_a_held_choice_and_a_held_whole_number_stay_what_they_are() -> None:
    ranges = Ranges(
        [
            Range("units", IntDistribution(16, 256, log=True), IntDistribution(32, 32), ""),
            Range(
                "optimizer",
                CategoricalDistribution(["adam", "sgd"]),
                CategoricalDistribution(["adam"]),
                "",
            ),
        ]
    )
    params = recipe(RangedTrial(optuna.create_study().ask(), ranges))
    assert (params["units"], params["optimizer"]) == (32, "adam")
    assert isinstance(params["units"], int)
    space: Space = ranges.of(SPACE)
    assert space.parameters["units"].distributions == (IntDistribution(32, 32),)
