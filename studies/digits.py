"""Handwritten digits of 8 x 8 pixels with a multilayer perceptron: seconds, no download.

Expected: 96 to 98 % on the validation images.
Data: scikit-learn's bundled 1,797 digits (UCI, E. Alpaydin and C. Kaynak 1998).
"""

from functools import partial

import torch

from nnstudy import Recipe, Stage, Study, datasets, models


def recipe(trial, data):
    """One to three hidden layers, trained by SGD with Nesterov momentum."""
    units = trial.suggest_int("units", 16, 256, log=True)
    depth = trial.suggest_int("depth", 1, 3)
    lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
    momentum = trial.suggest_categorical("momentum", [0.5, 0.9, 0.95, 0.99])
    return Recipe(
        network=models.mlp(data.shape, [units] * depth, data.outputs),
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=momentum, nesterov=True),
        weight_decay=trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
        batch_size=trial.suggest_categorical("batch_size", [32, 64, 128]),
    )


study = Study(
    "digits",
    recipe,
    data=datasets.digits,
    stages=[
        Stage(
            trials=24,
            epochs=30,
            sampler="tpe",
            pruner="median",
            pruner_options={"n_warmup_steps": 5},  # small rates start slowly
        )
    ],
    start={"lr": 0.01, "momentum": 0.9},
)
