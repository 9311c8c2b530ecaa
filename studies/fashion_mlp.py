"""Fashion-MNIST with a perceptron that is too large on purpose: which regularisation helps?

Expected: 89 to 90.5 %. Xiao et al. 2017 list 87.1 % for scikit-learn's perceptron of 100 units.
Srivastava et al. 2014 (JMLR 15, table 9) find, on MNIST, dropout with max-norm better than
max-norm alone, and that better than L2 with or without L1.
"""

from functools import partial

import torch
from torch import nn

from nnstudy import EarlyStopping, Recipe, Split, Stage, Study, datasets, models

KINDS = ["none", "l2", "l1", "max_norm", "dropout", "dropout and max_norm"]


def recipe(trial, data):
    """Two layers of 1,024 rectified units; each kind of regularisation by itself."""
    kind = trial.suggest_categorical("kind", KINDS)
    dropout = trial.suggest_float("dropout", 0.1, 0.7) if "dropout" in kind else 0.0
    max_norm = trial.suggest_float("max_norm", 0.5, 5.0, log=True) if "max_norm" in kind else None
    smoothing = trial.suggest_categorical("label_smoothing", [0.0, 0.1])
    optimizer = partial(
        torch.optim.SGD,
        lr=trial.suggest_float("lr", 1e-3, 0.3, log=True),
        momentum=trial.suggest_categorical("momentum", [0.5, 0.9, 0.95, 0.99]),
        nesterov=True,
    )
    return Recipe(
        network=models.mlp(data.shape, [1024, 1024], data.outputs, dropout=dropout),
        loss=nn.CrossEntropyLoss(label_smoothing=smoothing),
        optimizer=optimizer,
        l2=trial.suggest_float("l2", 0.1, 100.0, log=True) if kind == "l2" else 0.0,
        l1=trial.suggest_float("l1", 0.01, 10.0, log=True) if kind == "l1" else 0.0,
        max_norm=max_norm,
        batch_size=128,
    )


study = Study(
    "fashion_mlp",
    recipe,
    data=datasets.fashion_mnist,
    split=Split(validation=10_000),
    stages=[
        Stage("coarse", trials=20, epochs=2, sampler="random", pruner="none"),
        Stage("fine", trials=20, epochs=30, pruner="hyperband"),
    ],
    start={"kind": "dropout", "dropout": 0.5, "lr": 0.05, "momentum": 0.9, "label_smoothing": 0.0},
    early_stopping=EarlyStopping(patience=8),
)
