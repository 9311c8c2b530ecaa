from __future__ import annotations

import json
import math
import warnings
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import BaseSampler

from nnstudy.errors import UserError
from nnstudy.search.grid import grid_axes, grid_size
from nnstudy.search.samplers import SAMPLERS, SamplerSpec, describe_sampler, make_sampler
from nnstudy.search.space import Space, probe


def recipe(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0.0, 1.0)
    y = trial.suggest_float("y", 1e-3, 10.0, log=True)
    n = trial.suggest_int("n", 1, 3)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    return (x - 0.3) ** 2 + math.log10(y) ** 2 + n + (kind == "b")


SPACE = probe(recipe)


def sampler_of(name: str, seed: int = 1, stage: str = "fine") -> BaseSampler:
    options = {"points": 3} if name == "grid" else {}
    options |= {"n_startup_trials": 4} if name in ("tpe", "gp", "cmaes") else {}
    return make_sampler(SamplerSpec(name, options), seed=seed, stage=stage, space=SPACE)


def params_of(
    samplers: list[BaseSampler], trials: int = 12, start: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Runs trials, the i-th by the i-th sampler in turn, and returns their parameters."""
    study = optuna.create_study(study_name="s")
    if start is not None:
        study.enqueue_trial(start)
    for number in range(trials):
        study.sampler = samplers[number % len(samplers)]
        trial = study.ask()
        study.tell(trial, recipe(trial))
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "gp" else name for name in SAMPLERS],
)
def test_draws_do_not_depend_on_the_worker(name: str) -> None:
    alone = params_of([sampler_of(name)])
    assert params_of([sampler_of(name) for _ in range(3)]) == alone
    assert len({json.dumps(params) for params in alone}) == len(alone)


@pytest.mark.parametrize("name", ["random", "tpe", "qmc", "cmaes", "gp"])
def test_draws_follow_seed_and_stage(name: str) -> None:
    first = params_of([sampler_of(name)], 2)
    assert params_of([sampler_of(name, seed=2)], 2) != first
    assert params_of([sampler_of(name, stage="coarse")], 2) != first


@pytest.mark.parametrize("name", ["random", "tpe", "qmc"])
def test_trial_taken_over_within_its_recipe_gets_the_parameters_it_would_have_had(
    name: str,
) -> None:
    study = optuna.create_study(sampler=sampler_of(name))
    recipe(study.ask())
    other = optuna.create_study(sampler=sampler_of(name))
    dying = other.ask()
    dying.suggest_float("x", 0.0, 1.0)
    other.sampler = sampler_of(name)
    recipe(optuna.trial.Trial(other, dying._trial_id))
    assert other.trials[0].params == study.trials[0].params


def test_parameters_of_one_trial_are_drawn_independently() -> None:
    study = optuna.create_study(sampler=sampler_of("random"))
    trial = study.ask()
    assert trial.suggest_float("a", 0, 1) != trial.suggest_float("b", 0, 1)


@pytest.mark.parametrize("name", ["tpe", "cmaes", pytest.param("gp", marks=pytest.mark.slow)])
def test_sampler_learns(name: str) -> None:
    params = params_of([sampler_of(name)], 40)
    distance = [math.log10(point["y"]) ** 2 for point in params]
    assert sorted(distance[-10:])[5] < 0.5 * sorted(distance[:4])[2] + 0.2


def test_qmc_fills_the_space_from_the_first_trial_on() -> None:
    params = params_of([sampler_of("qmc"), sampler_of("qmc")], 16)
    assert sorted(int(point["x"] * 16) for point in params) == list(range(16))


def test_grid_gives_each_point_once_although_one_trial_was_enqueued() -> None:
    size = grid_size(SPACE, 3)
    assert size == 3 * 3 * 3 * 2
    params = params_of([sampler_of("grid"), sampler_of("grid")], size + 1, start={"x": 0.77})
    assert params[0]["x"] == 0.77
    assert len({json.dumps(point) for point in params[1:]}) == size


def test_last_point_of_a_grid_is_told_without_an_error_and_the_grid_starts_again() -> None:
    space = probe(lambda trial: trial.suggest_categorical("c", [1, 2]))
    study = optuna.create_study(sampler=make_sampler("grid", seed=0, stage="s", space=space))
    for _ in range(4):
        trial = study.ask()
        study.tell(trial, trial.suggest_categorical("c", [1, 2]))
    assert sorted(trial.params["c"] for trial in study.trials) == [1, 1, 2, 2]


def test_grid_axes_follow_steps_choices_and_scales() -> None:
    def ask(trial: optuna.Trial) -> None:
        trial.suggest_float("lr", 1e-4, 1.0, log=True)
        trial.suggest_float("momentum", 0.1, 0.5, step=0.1)
        trial.suggest_int("units", 16, 64, step=16)
        trial.suggest_int("batch", 1, 100, log=True)
        trial.suggest_categorical("act", ["relu", "tanh"])

    points = {"lr": 5, "batch": 3}
    assert grid_axes(probe(ask), points) == {
        "lr": [1e-4, 1e-3, 1e-2, 1e-1, 1.0],
        "momentum": [0.1, 0.2, 0.3, 0.4, 0.5],
        "units": [16, 32, 48, 64],
        "batch": [1, 10, 100],
        "act": ["relu", "tanh"],
    }
    assert grid_size(probe(ask), points) == 5 * 5 * 4 * 3 * 2


@given(
    low=st.integers(1, 50),
    width=st.integers(0, 500),
    points=st.integers(1, 12),
    log=st.booleans(),
)
@settings(max_examples=50)
def test_points_laid_on_a_number_lie_in_its_range(
    low: int, width: int, points: int, log: bool
) -> None:
    space = probe(lambda trial: trial.suggest_int("n", low, low + width, log=log), probes=2)
    values = grid_axes(space, points)["n"]
    assert 1 <= len(values) <= points
    assert all(space.parameters["n"].contains(value) for value in values)


def test_grid_of_a_range_without_steps_is_refused() -> None:
    space = probe(lambda trial: trial.suggest_float("lr", 0.1, 1))
    with pytest.raises(UserError, match=r"values for lr: give its range a step, or .* points=5"):
        make_sampler("grid", seed=0, stage="s", space=space)
    with pytest.raises(UserError, match="names 'lrr'"):
        grid_size(space, {"lrr": 3})
    with pytest.raises(UserError, match="whole number from 1, or decades, got 0"):
        grid_size(space, 0)


def test_cmaes_without_numbers_is_refused() -> None:
    space = probe(lambda trial: trial.suggest_categorical("c", [1, 2]))
    with pytest.raises(UserError, match="numbers only"):
        make_sampler("cmaes", seed=0, stage="s", space=space)


def test_cmaes_moves_a_single_number() -> None:
    space = probe(lambda trial: trial.suggest_float("x", 0, 1))
    study = optuna.create_study(sampler=make_sampler("cmaes", seed=0, stage="s", space=space))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=12)
    assert len(study.trials) == 12


def test_cmaes_learns_from_pruned_trials_under_hyperband_only() -> None:
    for hyperband in (False, True):
        sampler = make_sampler("cmaes", seed=0, stage="s", space=SPACE, hyperband=hyperband)
        inner = sampler.sampler_for(0)  # type: ignore[attr-defined]
        assert inner._consider_pruned_trials is hyperband


def test_experimental_options_do_not_warn_at_each_trial() -> None:
    spec = SamplerSpec("tpe", {"group": True, "multivariate": True})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        params_of([make_sampler(spec, seed=0, stage="s", space=SPACE)], 3)


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_survives_json(name: str) -> None:
    spec = SamplerSpec(name, {"points": {"x": 3}} if name == "grid" else {})
    assert SamplerSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_users_own_sampler_is_taken_as_it_is() -> None:
    own = optuna.samplers.RandomSampler()
    assert make_sampler(own, seed=0, stage="s", space=SPACE) is own
    assert describe_sampler(own) == {"class": "optuna.samplers._random.RandomSampler"}
    assert describe_sampler("tpe") == {"name": "tpe", "options": {}}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tpee", {}, "Unknown sampler 'tpee'. Did you mean tpe.*random, tpe, grid, qmc"),
        ("tpe", {"startup": 3}, "no option 'startup'.*n_startup_trials"),
        ("tpe", {"n_startup_trials": 2.5}, "must be int, got 2.5"),
        ("tpe", {"seed": 3}, "no option 'seed'"),
        ("tpe", {"gamma": 3}, "no option 'gamma'"),
        ("tpe", {"group": True, "multivariate": False}, "does not accept"),
        ("random", {"x": 1}, "Its options: none"),
        ("qmc", {"qmc_type": "lattice"}, "does not accept"),
        ("grid", {"points": 1.5}, "must be dict or int or str"),
        ("grid", {"points": "many"}, "a number or decades, or these by parameter, got 'many'"),
    ],
)
def test_wrong_name_or_option_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_sampler(SamplerSpec(name, options), seed=0, stage="s", space=SPACE)


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_works_with_hyperband(name: str) -> None:
    from nnstudy.search.pruners import make_pruner

    study = optuna.create_study(
        study_name="s", sampler=sampler_of(name), pruner=make_pruner("hyperband", steps=9)
    )
    for _ in range(8):
        trial = study.ask()
        value = recipe(trial)
        trial.report(value, 1)
        trial.should_prune()
        study.tell(trial, value)
    assert len(study.trials) == 8


def test_space_without_parameters_can_be_sampled() -> None:
    for name in ("random", "tpe", "grid", "qmc", "gp"):
        sampler = make_sampler(name, seed=0, stage="s", space=Space({}))
        study = optuna.create_study(sampler=sampler)
        study.tell(study.ask(), 1.0)
        study.tell(study.ask(), 1.0)
