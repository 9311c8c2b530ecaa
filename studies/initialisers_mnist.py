"""Initial weights on MNIST: nine initialisers in networks of one to four hidden layers.

Expected: N(0, 1) starts saturated and, with depth, stays behind; a spread of 1/sqrt(fan-in)
or thereabouts cures it (Nielsen, "Neural Networks and Deep Learning", chapter 3). Glorot's suit
tanh (Glorot and Bengio 2010), He's the rectifier (He et al. 2015); the rest differ little. "Simple
Guide to Hyperparameter Tuning in Neural Networks" has lecun_uniform or glorot_uniform best, at 97 %.
"""

from functools import partial

import torch

from nnstudy import Recipe, Split, Stage, Study, datasets, initialisers, models


def recipe(trial, data):
    """Layers of 100 units and plain SGD, which is most in need of good initial weights."""
    depth = trial.suggest_int("depth", 1, 4)
    activation = trial.suggest_categorical("activation", ["sigmoid", "tanh", "relu"])
    network = models.mlp(data.shape, [100] * depth, data.outputs, activation=activation)
    return Recipe(
        network=models.initialise(
            network,
            trial.suggest_categorical("initialiser", list(initialisers.NAMES)),
            bias=trial.suggest_categorical("bias", ["zeros", "normal"]),
        ),
        optimizer=partial(torch.optim.SGD, lr=trial.suggest_float("lr", 1e-2, 1.0, log=True)),
        batch_size=64,
    )


study = Study(
    "initialisers_mnist",
    recipe,
    data=datasets.mnist,
    split=Split(validation=10_000),
    # A comparison: every initialiser gets its share of trials, and none is cut short.
    stages=[Stage(trials=60, epochs=5, sampler="random", pruner="none")],
    start=[
        {"initialiser": "normal", "depth": 3, "activation": "sigmoid", "bias": "normal"},
        {"initialiser": "glorot_uniform", "depth": 3, "activation": "tanh", "bias": "zeros"},
    ],
)
