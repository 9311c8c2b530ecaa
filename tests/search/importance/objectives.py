"""Objectives whose parameters matter as much as is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from nnstudy.search.plan import Plan
from nnstudy.study import Direction
from tests.search.test_results import plan

Objective = Callable[[optuna.Trial], float]


def plan_of(sampler: str = "random", direction: Direction = "minimize", **fields: Any) -> Plan:
    return replace(plan(direction), sampler={"name": sampler, "options": {}}, **fields)


def truth(trial: optuna.Trial) -> float:
    """The rate matters much, the width less, the colour not, the momentum where it is asked for."""
    lr = trial.suggest_float("lr", 1e-4, 1, log=True)
    units = trial.suggest_int("units", 8, 256, log=True)
    trial.suggest_categorical("colour", ["red", "green", "blue"])
    value = 3 * (math.log10(lr) + 2) ** 2 + 0.6 * math.log2(256 / units)
    if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
        return value + 4 * trial.suggest_float("momentum", 0, 1)
    return value + 4


def tried(
    objective: Objective,
    trials: int,
    *,
    sampler: BaseSampler | None = None,
    study: optuna.Study | None = None,
    seed: int = 0,
) -> list[FrozenTrial]:
    """Runs a search, in memory unless a study is given."""
    made = study or optuna.create_study()
    made.sampler = sampler or RandomSampler(seed=seed)
    made.optimize(objective, n_trials=trials)
    return made.get_trials()


@cache
def true_trials() -> tuple[FrozenTrial, ...]:
    return tuple(tried(truth, 120, seed=2))


def noise(names: Mapping[str, bool], seed: int) -> Objective:
    """Values that hang on nothing; each parameter is a number or a choice."""
    generator = np.random.default_rng(seed)

    def objective(trial: optuna.Trial) -> float:
        for name, is_number in names.items():
            if is_number:
                trial.suggest_float(name, 0, 1)
            else:
                trial.suggest_categorical(name, ["a", "b", "c"])
        return float(generator.normal())

    return objective
