"""Hidden units, fewer and more than the 784 inputs, and one to three hidden layers on MNIST.

Expected: "the more, the better", a first layer larger than the inputs is beneficial, a much larger
one overfits; two hidden layers beat one, and "going even deeper rarely helps much more" (a text on
hyperparameters, "Number of Hidden Units / Layers"; of depth after A. Karpathy).
"""

from functools import partial

import torch

from nnstudy import Recipe, Split, Stage, Study, datasets, models


def recipe(trial, data):
    """Layers of equal width; each network needs a rate of its own."""
    units = trial.suggest_categorical("units", [10, 30, 100, 300, 1000, 2000])
    layers = trial.suggest_int("layers", 1, 3)
    lr = trial.suggest_float("lr", 1e-2, 1e-1, log=True)
    return Recipe(
        network=models.mlp(data.shape, [units] * layers, data.outputs),
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9, nesterov=True),
        batch_size=128,
    )


study = Study(
    "capacity_mnist",
    recipe,
    data=datasets.mnist,
    split=Split(validation=10_000),
    # A comparison: every network at each of two rates, and none is cut short.
    stages=[
        Stage(
            trials=36,
            epochs=10,
            sampler="grid",
            sampler_options={"points": {"layers": 3, "lr": 2}},
            pruner="none",
        )
    ],
    early_stopping=None,
)
