"""CIFAR-10 with a residual network: flipped and shifted images, warm-up, cosine, averages.

Expected: 93 to 95 % after some 30 epochs on a GPU. He et al. 2016 report 91.25 % (20 layers)
to 93.57 % (110 layers) on the test images, with these flips and crops, momentum 0.9 and weight
decay 1e-4; torchvision's networks are wider. A processor takes hours for each epoch.
"""

from functools import partial

import torch
from torch import nn

from nnstudy import Recipe, Split, Stage, Study, augmentation, datasets, models, schedules


def recipe(trial, data):
    """SGD with Nesterov momentum; label smoothing; a moving average of the weights."""
    lr = trial.suggest_float("lr", 1e-2, 1.0, log=True)
    smoothing = trial.suggest_categorical("label_smoothing", [0.0, 0.05, 0.1])
    return Recipe(
        network=models.resnet(data.shape, data.outputs, depth=18),
        loss=nn.CrossEntropyLoss(label_smoothing=smoothing),
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9, nesterov=True),
        schedule=schedules.warmup(schedules.cosine(), epochs=1),
        weight_decay=trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True),
        batch_size=trial.suggest_categorical("batch_size", [128, 256, 512]),
        augmentation=augmentation.compose(augmentation.flip(), augmentation.crop(padding=4)),
        average=0.999,
    )


study = Study(
    "cifar_resnet",
    recipe,
    data=datasets.cifar10,
    split=Split(validation=5_000),
    stages=[
        Stage("coarse", trials=10, epochs=3, sampler="random", pruner="none"),
        Stage("fine", trials=10, epochs=30, pruner="hyperband"),
    ],
    start={"lr": 0.1, "weight_decay": 5e-4, "batch_size": 128},
)
