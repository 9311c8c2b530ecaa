"""Ways to lower the learning rate over 60 epochs of MNIST, all from 0.1.

Expected: exponential decay has a smoother loss than time-based decay and is "a helpful way to
improve" ("Simple Guide to Hyperparameter Tuning in Neural Networks", step 2: rate 0.1, momentum
0.8, decay 0.0016); lowering the rate is "usually helpful" (CS231n, "Annealing the learning rate").
"""

from functools import partial

import torch

from nnstudy import Recipe, Split, Stage, Study, datasets, models, schedules

# The guide divides by 1 + decay * epoch; the library that it uses counts minibatches instead, of
# which its epochs have 469.
SCHEDULES = {
    "constant": schedules.constant(),
    "step": schedules.step(every=20, factor=0.1),
    "exponential": schedules.exponential(0.1),
    "time-based, by epochs": schedules.inverse_time(0.0016),
    "time-based, by minibatches": schedules.inverse_time(0.0016 * 469),
}


def recipe(trial, data):
    """One hidden layer and SGD with momentum; only the schedule is searched."""
    return Recipe(
        network=models.mlp(data.shape, [64], data.outputs),
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.8),
        schedule=SCHEDULES[trial.suggest_categorical("schedule", list(SCHEDULES))],
        batch_size=128,
    )


study = Study(
    "annealing_mnist",
    recipe,
    data=datasets.mnist,
    split=Split(validation=10_000),
    stages=[Stage(trials=len(SCHEDULES), epochs=60, sampler="grid", pruner="none")],
    early_stopping=None,
)
