"""A dead start on MNIST, brought to life by changing one thing at a time.

Expected: with a rate of 10 and lambda = 1000, 30 sigmoid units stay at chance, 10 %, on 50,000
images as on 1,000 ("Data Science and Machine Learning for Geoscientists", chapter 19, after
M. Nielsen, "Neural Networks and Deep Learning", chapter 3). The rate without lambda, then lambda,
both by factors of ten, bring it above 90 % in an epoch; the chapter gives no figure for that.
"""

from functools import partial

import torch

from nnstudy import Recipe, Split, Stage, Study, datasets, losses, models, plans


def recipe(trial, data):
    """The network of nielsen_mnist with 30 hidden units, in minibatches of 10."""
    network = models.mlp(data.shape, [30], data.outputs, activation="sigmoid")
    return Recipe(
        network=models.initialise(network, "fan_in_normal", bias="normal"),
        loss=losses.BinaryCrossEntropy(),
        optimizer=partial(torch.optim.SGD, lr=trial.suggest_float("lr", 1e-3, 10.0, log=True)),
        l2=trial.suggest_float("lambda", 0.1, 1000.0, log=True),
        batch_size=10,
    )


study = Study(
    "dead_start_mnist",
    recipe,
    data=partial(datasets.mnist, normalise="unit"),
    split=Split(validation=10_000, selection=0.0, shuffle=False),
    stages=[
        Stage("start", trials=1, epochs=2, sampler="random", pruner="none"),
        *plans.one_at_a_time("lr", "lambda", epochs=1, trials=4),
    ],
    start={"lr": 10.0, "lambda": 1000.0},
    early_stopping=None,
)
