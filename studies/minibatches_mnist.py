"""Minibatches of 8 to 2,048 images at one learning rate, with a small convolutional network.

Expected: "using the same learning rate, the accuracy of the model decreases the larger the
minibatch size becomes" (a text on hyperparameters, "Minibatch Size"); the loss is the less noisy
for it (CS231n, "Loss function").
"""

from functools import partial

import torch

from nnstudy import Recipe, Split, Stage, Study, datasets, models


def recipe(trial, data):
    """SGD without momentum; only the minibatch is searched, and each sees as many images."""
    return Recipe(
        network=models.convnet(data.shape, data.outputs, (4, 8), batch_norm=False, units=32),
        optimizer=partial(torch.optim.SGD, lr=0.05),
        batch_size=trial.suggest_categorical("batch_size", [8, 32, 128, 512, 2048]),
    )


study = Study(
    "minibatches_mnist",
    recipe,
    data=datasets.mnist,
    split=Split(validation=10_000),
    stages=[Stage(trials=5, epochs=5, sampler="grid", pruner="none")],
    early_stopping=None,
)
