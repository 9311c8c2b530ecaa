"""Schedules of learning rate and momentum on digits, and minibatches from one to all examples.

Expected: all schedules reach about 96 % at their own best rate; annealing pays where the rate
starts high. CS231n ("Annealing the learning rate") slightly prefers step decay. The whole set
as one minibatch takes too few steps in 30 epochs to come as far.
"""

from functools import partial

import torch

from nnstudy import Recipe, Stage, Study, datasets, models, schedules


def recipe(trial, data):
    """SGD with Nesterov momentum; each schedule is asked for its own values only."""
    lr = trial.suggest_float("lr", 1e-3, 3.0, log=True)
    schedule = rate_schedule(trial)
    warmup = trial.suggest_categorical("warmup", [0.0, 0.5, 2.0])
    if warmup:
        schedule = schedules.warmup(schedule, epochs=warmup)
    if trial.suggest_categorical("momentum", ["constant", "annealed"]) == "annealed":
        schedule = schedules.together(schedule, schedules.momentum(0.5, 0.99))
    examples = len(data.train)
    return Recipe(
        network=models.mlp(data.shape, [64], data.outputs),
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9, nesterov=True),
        schedule=schedule,
        batch_size=trial.suggest_categorical("batch_size", [1, 8, 32, 128, examples]),
    )


def rate_schedule(trial):
    """Asks which schedule, and for what it needs."""
    match trial.suggest_categorical(
        "schedule",
        ["constant", "step", "exponential", "1/t", "plateau", "cosine", "restarts", "one_cycle"],
    ):
        case "step":
            return schedules.step(every=5, factor=0.5)
        case "exponential":
            return schedules.exponential(trial.suggest_float("k_exponential", 0.01, 1, log=True))
        case "1/t":
            return schedules.inverse_time(trial.suggest_float("k_inverse", 0.01, 10, log=True))
        case "plateau":
            return schedules.plateau(factor=0.5, patience=trial.suggest_int("patience", 1, 5))
        case "cosine":
            return schedules.cosine()
        case "restarts":
            return schedules.warm_restarts(first=2, factor=2)
        case "one_cycle":
            return schedules.one_cycle(momentum=None)
    return schedules.constant()


study = Study(
    "schedules_digits",
    recipe,
    data=datasets.digits,
    stages=[Stage(trials=60, epochs=30, sampler="tpe", pruner="median")],
    start={"schedule": "constant", "lr": 0.05, "batch_size": 32, "warmup": 0.0},
    early_stopping=None,
)
