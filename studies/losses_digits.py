"""Four losses on handwritten digits: cross-entropy, binary, quadratic and hinge.

Expected: the two cross-entropies and the hinge loss alike, 97 to 98 %; the quadratic loss over
sigmoid outputs learns more slowly, since a saturated output has next to no gradient (Nielsen,
"Neural Networks and Deep Learning", chapter 3). Compared by accuracy: their values differ in
scale. So do their best rates, hence each has its own.
"""

from functools import partial

import torch

from nnstudy import Recipe, Stage, Study, datasets, losses, models

LOSSES = {
    "cross_entropy": losses.cross_entropy,
    "binary_cross_entropy": losses.BinaryCrossEntropy(),
    "quadratic": losses.Quadratic(activation="sigmoid"),
    "hinge": losses.MultiClassHinge(),
}


def recipe(trial, data):
    """One hidden layer, SGD with momentum."""
    loss = trial.suggest_categorical("loss", list(LOSSES))
    lr = trial.suggest_float(f"lr_{loss}", 1e-3, 10.0, log=True)
    return Recipe(
        network=models.mlp(data.shape, [64], data.outputs, activation="tanh"),
        loss=LOSSES[loss],
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9),
        batch_size=32,
    )


study = Study(
    "losses_digits",
    recipe,
    data=datasets.digits,
    stages=[Stage(trials=40, epochs=20, sampler="tpe", pruner="median")],
)
