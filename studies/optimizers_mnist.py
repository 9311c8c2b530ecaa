"""Optimizers side by side on MNIST, each at its own best learning rate.

Expected: at their best rates they end close together, 97.5 to 98.5 %. CS231n ("Parameter
updates"): Adam "is currently recommended as the default", SGD with Nesterov momentum "is worth
trying as an alternative", and the rates of Adagrad fall "too aggressively".
"""

from functools import partial

import torch

from nnstudy import EarlyStopping, Recipe, Split, Stage, Study, datasets, models

# The optimizer, and the range in which its learning rate is searched.
OPTIMIZERS = {
    "sgd": (torch.optim.SGD, 1e-2, 3.0),
    "momentum": (partial(torch.optim.SGD, momentum=0.9), 1e-3, 1.0),
    "nesterov": (partial(torch.optim.SGD, momentum=0.9, nesterov=True), 1e-3, 1.0),
    "adagrad": (torch.optim.Adagrad, 1e-3, 0.3),
    "rmsprop": (torch.optim.RMSprop, 1e-5, 1e-2),
    "adam": (torch.optim.Adam, 1e-5, 3e-2),
    "adamw": (torch.optim.AdamW, 1e-5, 3e-2),
}


def recipe(trial, data):
    """One hidden layer of 100 rectified units; only optimizer and rate are searched."""
    name = trial.suggest_categorical("optimizer", list(OPTIMIZERS))
    make, lowest, highest = OPTIMIZERS[name]
    lr = trial.suggest_float(f"lr_{name}", lowest, highest, log=True)
    return Recipe(
        network=models.mlp(data.shape, [100], data.outputs),
        optimizer=partial(make, lr=lr),
        batch_size=128,
    )


study = Study(
    "optimizers_mnist",
    recipe,
    data=datasets.mnist,
    split=Split(validation=10_000),
    # A comparison: every optimizer gets its share of trials, and none is cut short.
    stages=[Stage(trials=70, epochs=10, sampler="random", pruner="none")],
    early_stopping=EarlyStopping(patience=5),
)
