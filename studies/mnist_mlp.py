"""MNIST with a multilayer perceptron: depth, width, activation, dropout and batch norm.

Expected: 98.4 to 98.8 %. Srivastava et al. 2014 (JMLR 15, table 2) list, on the test images,
98.40 % for 800 sigmoid units (Simard et al. 2003) and 98.75 % for three layers of 1,024
rectified units with dropout. Depth beyond three layers rarely helps much (CS231n).
"""

from functools import partial

import torch

from nnstudy import EarlyStopping, Recipe, Split, Stage, Study, datasets, models


def recipe(trial, data):
    """A perceptron whose layers are equally wide, trained by Adam."""
    units = trial.suggest_int("units", 64, 1024, log=True)
    depth = trial.suggest_int("depth", 1, 3)
    network = models.mlp(
        data.shape,
        [units] * depth,
        data.outputs,
        activation=trial.suggest_categorical(
            "activation", ["sigmoid", "tanh", "relu", "leaky_relu", "gelu"]
        ),
        dropout=trial.suggest_float("dropout", 0.0, 0.6),
        batch_norm=trial.suggest_categorical("batch_norm", [False, True]),
    )
    return Recipe(
        network=network,
        optimizer=partial(torch.optim.Adam, lr=trial.suggest_float("lr", 1e-4, 1e-1, log=True)),
        batch_size=trial.suggest_categorical("batch_size", [32, 64, 128]),
    )


study = Study(
    "mnist_mlp",
    recipe,
    data=datasets.mnist,
    split=Split(validation=10_000),
    stages=[
        Stage("coarse", trials=20, epochs=1, sampler="random", pruner="none"),
        Stage("fine", trials=20, epochs=20, pruner="hyperband"),
    ],
    start={"units": 512, "depth": 2, "activation": "relu", "dropout": 0.3, "lr": 1e-3},
    early_stopping=EarlyStopping(patience=5),
)
