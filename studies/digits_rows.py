"""Digits as sequences: a recurrent network reads an image row by row.

Expected: 96 to 98 %, LSTM and GRU alike and no worse than a plain RNN, two layers no worse
than one. Chung et al. 2014 find gating units better than plain ones, undecided between
LSTM and GRU; Karpathy et al. 2015 find "that depth of at least two is beneficial".
Data: scikit-learn's bundled digits, eight rows of eight pixels.
"""

from functools import partial

import torch

from nnstudy import EarlyStopping, Recipe, Stage, Study, datasets, models


def recipe(trial, data):
    """RNN, LSTM or GRU; gradients are clipped, since those through time can explode."""
    lr = trial.suggest_float("lr", 1e-4, 0.1, log=True)
    clip = trial.suggest_float("clip", 0.1, 10.0, log=True)
    by_norm = trial.suggest_categorical("clip_by", ["norm", "value"]) == "norm"
    return Recipe(
        network=models.recurrent(
            data.shape,
            data.outputs,
            cell=trial.suggest_categorical("cell", ["rnn", "lstm", "gru"]),
            units=trial.suggest_int("units", 16, 128, log=True),
            layers=trial.suggest_int("layers", 1, 2),
            dropout=trial.suggest_float("dropout", 0.0, 0.5),
        ),
        optimizer=partial(torch.optim.Adam, lr=lr),
        batch_size=trial.suggest_categorical("batch_size", [16, 32, 64]),
        clip_norm=clip if by_norm else None,
        clip_value=None if by_norm else clip,
    )


study = Study(
    "digits_rows",
    recipe,
    data=datasets.digits_rows,
    stages=[Stage(trials=24, epochs=20, sampler="tpe", pruner="median")],
    start={"cell": "lstm", "units": 64, "layers": 1, "lr": 0.01, "clip_by": "norm", "clip": 1.0},
    early_stopping=EarlyStopping(patience=5),
)
