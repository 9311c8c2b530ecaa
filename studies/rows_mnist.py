"""MNIST as sequences: plain RNN, LSTM and GRU read an image row by row, in one layer or two.

Expected: both gated cells beat the plain one, and LSTM against GRU is "not conclusive" (Chung et al.
2014); "depth of at least two is beneficial" (Karpathy et al. 2015); "the GRU outperformed the LSTM"
(Jozefowicz et al. 2015).
"""

from functools import partial

import torch

from nnstudy import Recipe, Split, Stage, Study, datasets, models


def recipe(trial, data):
    """28 rows of 28 pixels; the gradient is clipped, since that through time can explode."""
    network = models.recurrent(
        data.shape,
        data.outputs,
        cell=trial.suggest_categorical("cell", ["rnn", "lstm", "gru"]),
        units=64,
        layers=trial.suggest_int("layers", 1, 2),
    )
    lr = trial.suggest_float("lr", 1e-3, 1e-2, log=True)
    return Recipe(
        network=network,
        optimizer=partial(torch.optim.Adam, lr=lr),
        batch_size=64,
        clip_norm=1.0,
    )


study = Study(
    "rows_mnist",
    recipe,
    data=datasets.mnist,
    split=Split(validation=10_000),
    # A comparison: every network at each of three rates, and none is cut short.
    stages=[
        Stage(
            trials=18,
            epochs=5,
            sampler="grid",
            sampler_options={"points": {"layers": 2, "lr": 3}},
            pruner="none",
        )
    ],
    early_stopping=None,
)
