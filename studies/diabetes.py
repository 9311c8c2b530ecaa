"""Regression: the course of diabetes after a year, from ten numbers of each of 442 patients.

Expected: little more than a linear model gives, which explains about half of the variance
(R2 0.4 to 0.5; the quadratic loss is half of the rest): with so few patients, networks that
are small and well regularised win.
Data: scikit-learn's bundled set (Efron et al. 2004, "Least Angle Regression").
"""

from functools import partial

import torch

from nnstudy import EarlyStopping, Recipe, Split, Stage, Study, datasets, losses, models


def recipe(trial, data):
    """A few tanh units or none; L-BFGS on the whole set, or Adam on minibatches."""
    units = trial.suggest_categorical("units", [0, 2, 4, 8, 16])
    widths = [units] if units else []
    if trial.suggest_categorical("optimizer", ["lbfgs", "adam"]) == "lbfgs":
        # CS231n: "a naive application of L-BFGS must be computed over the entire training set".
        optimizer = partial(torch.optim.LBFGS, max_iter=5, line_search_fn="strong_wolfe")
        batch_size = len(data.train)
    else:
        optimizer = partial(torch.optim.Adam, lr=trial.suggest_float("lr", 1e-3, 0.3, log=True))
        batch_size = trial.suggest_categorical("batch_size", [16, 32, 64])
    return Recipe(
        network=models.mlp(data.shape, widths, data.outputs, activation="tanh"),
        loss=losses.Quadratic(),
        optimizer=optimizer,
        weight_decay=trial.suggest_float("weight_decay", 1e-4, 10.0, log=True),
        batch_size=batch_size,
        metrics={"r2": r2},
    )


def r2(outputs, targets):
    """Share of the variance that is explained."""
    return 1 - ((targets - outputs) ** 2).sum() / ((targets - targets.mean(0)) ** 2).sum()


study = Study(
    "diabetes",
    recipe,
    data=datasets.diabetes,
    metric="loss/valid",
    split=Split(validation=0.3),
    stages=[Stage(trials=40, epochs=50, sampler="tpe", pruner="median")],
    start={"units": 0, "optimizer": "lbfgs"},
    early_stopping=EarlyStopping(patience=10),
)
