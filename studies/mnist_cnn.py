"""MNIST with a small convolutional network, batch norm and deformed images.

Expected: 99.4 to 99.6 %. Simard et al. 2003 ("Best practices for convolutional neural networks
applied to visual document analysis") report 99.6 % on the test images with elastic
deformations, 99.4 % with affine ones.
"""

from functools import partial

import torch

from nnstudy import Recipe, Split, Stage, Study, augmentation, datasets, models, schedules


def recipe(trial, data):
    """Two convolutions, SGD with Nesterov momentum, the rate annealed to zero."""
    lr = trial.suggest_float("lr", 1e-3, 0.3, log=True)
    channels = trial.suggest_categorical("channels", [16, 32, 64])
    annealing = {"cosine": schedules.cosine(), "one_cycle": schedules.one_cycle()}
    return Recipe(
        network=models.convnet(
            data.shape,
            data.outputs,
            channels=[channels, 2 * channels],
            dropout=trial.suggest_float("dropout", 0.0, 0.6),
        ),
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9, nesterov=True),
        schedule=annealing[trial.suggest_categorical("schedule", list(annealing))],
        weight_decay=trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True),
        batch_size=trial.suggest_categorical("batch_size", [32, 64, 128]),
        augmentation=deformation(trial),
    )


def deformation(trial):
    """How much images are moved is asked for only where they are moved in this way."""
    match trial.suggest_categorical("augmentation", ["none", "shift", "affine", "elastic"]):
        case "shift":
            return augmentation.shift(trial.suggest_int("shift", 1, 3))
        case "affine":
            degrees = trial.suggest_float("degrees", 2.0, 20.0)
            return augmentation.affine(degrees, shift=2.0, scale=(0.9, 1.1), shear=degrees)
        case "elastic":
            alpha = trial.suggest_float("alpha", 10.0, 60.0, log=True)
            return augmentation.compose(
                augmentation.rotate(10.0), augmentation.elastic(alpha, sigma=5.0)
            )
    return None


study = Study(
    "mnist_cnn",
    recipe,
    data=datasets.mnist,
    split=Split(validation=10_000),
    stages=[
        Stage("coarse", trials=12, epochs=1, sampler="random", pruner="none"),
        Stage("fine", trials=12, epochs=8, pruner="hyperband"),
    ],
    start={"lr": 0.05, "channels": 32, "augmentation": "none", "batch_size": 128},
)
