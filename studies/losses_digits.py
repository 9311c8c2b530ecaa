"""Four losses on handwritten digits: cross-entropy, binary, quadratic and hinge.

Expected: 96 to 97 %, each at its own best rate. At small rates the quadratic loss over sigmoid
outputs learns far more slowly than the others, since a saturated output has next to no gradient
(Nielsen, "Neural Networks and Deep Learning", chapter 3). Compared by accuracy, since the
losses differ in scale; with some 200 validation images, two points apart may be chance.
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
    # A comparison: every loss gets its share of trials, and none is cut short.
    stages=[Stage(trials=60, epochs=20, sampler="random", pruner="none")],
)
