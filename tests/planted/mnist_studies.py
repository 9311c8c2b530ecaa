"""A study of MNIST in which nothing is wrong, and one with each bug planted into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch
from torch import Tensor, nn

from nnstudy import Recipe, Split, Stage, Study, datasets, losses, models
from nnstudy.data import Data
from nnstudy.data.parts import TensorPart
from nnstudy.data.source import Source
from nnstudy.training.recipe import Loss

Change = Callable[[Recipe, Data], Recipe]


def study(
    change: Change = lambda recipe, data: recipe,
    *,
    data: Any = datasets.mnist,
    split: Split | None = None,
    epochs: float = 3,
    start: dict[str, Any] | None = None,
    activation: str = "relu",
) -> Study:
    """A perceptron with one hidden layer and momentum; ``change`` plants something into it."""

    def recipe(trial: optuna.Trial, data: Data) -> Recipe:
        lr = trial.suggest_float("lr", 1e-3, 0.3, log=True)
        return change(
            Recipe(
                network=models.mlp(data.shape, [64], data.outputs, activation=activation),
                optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9),
                weight_decay=trial.suggest_float("weight_decay", 1e-6, 1e-3, log=True),
                batch_size=64,
            ),
            data,
        )

    return Study(
        "planted",
        recipe,
        data=data,
        split=split or Split(validation=10_000, selection=0.0),
        stages=[Stage(trials=1, epochs=epochs, sampler="random", pruner="none")],
        start=start or {"lr": 0.02},
        early_stopping=None,
    )


# -- Data ---------------------------------------------------------------------------------------


def labels_shuffled(directory: Path) -> Source:
    """Labels that belong to other images."""
    source = datasets.mnist(directory=directory)
    order = torch.randperm(len(source.examples), generator=torch.Generator().manual_seed(0))
    return replace(source, examples=source.examples.with_targets(source.examples.targets[order]))


def in_both_parts(directory: Path) -> Source:
    """Of the last 10,000 images, which are held out, 2,000 are among the others too."""
    source = datasets.mnist(directory=directory)
    index = torch.arange(len(source.examples))
    index[:2000] = index[-2000:]
    return replace(source, examples=source.examples.take(index))


def not_normalised(directory: Path) -> Source:
    """Pixels from 0 to 255, as numbers."""
    source = datasets.mnist(directory=directory)
    images = torch.cat(list(source.examples.raw_inputs())).float()
    return datasets.tensors(images, source.examples.targets, normalise="none", name="raw mnist")


class SortedPart(TensorPart):
    """Gives its examples sorted by class, whatever order it is asked for."""

    def order(self, generator: torch.Generator | None) -> Tensor:
        """Returns the same order each time."""
        return self.targets.argsort(stable=True)

    def _like(self, inputs: Tensor, targets: Tensor) -> TensorPart:
        return SortedPart(inputs, targets, self.normalisation)

    def normalised(self, normalisation: Any) -> TensorPart:
        """Returns a part of the same kind."""
        return SortedPart(self.inputs, self.targets, normalisation)


def not_shuffled(directory: Path) -> Source:
    """Examples sorted by class, in the same order in each epoch."""
    source = datasets.mnist(directory=directory)
    part = source.examples
    assert isinstance(part, TensorPart)
    return replace(source, examples=SortedPart(part.inputs, part.targets))


# -- Networks, losses, optimizers ---------------------------------------------------------------


def with_loss(loss: Loss, recipe: Recipe, data: Data) -> Recipe:
    """Another loss; no bug."""
    return replace(recipe, loss=loss)


def softmax_twice(recipe: Recipe, data: Data) -> Recipe:
    """Probabilities, where the loss takes their logarithms for scores."""
    return replace(recipe, network=nn.Sequential(recipe.network, nn.Softmax(dim=1)))


class Forgetful(torch.optim.SGD):
    """As in a loop that forgets ``zero_grad``: gradients add up."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Does nothing."""


def zero_grad_forgotten(recipe: Recipe, data: Data) -> Recipe:
    """Each step goes along the sum of all gradients so far."""
    return replace(recipe, optimizer=partial(Forgetful, **recipe.optimizer.keywords))  # type: ignore[attr-defined]


class Bent(torch.autograd.Function):
    """A smooth step, whose derivative has the wrong sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Returns the hyperbolic tangent."""
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Forgets that the slope of tanh is above zero."""
        (x,) = ctx.saved_tensors
        return -grad * (1 - x.tanh().square())


class WrongSign(nn.Module):
    """An activation with a backward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """Applies it."""
        return Bent.apply(x)  # type: ignore[no-any-return,no-untyped-call]


def wrong_backward(recipe: Recipe, data: Data) -> Recipe:
    """The hidden layer climbs where it should go down."""
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 64), WrongSign(), nn.Linear(64, data.outputs)
    )
    return replace(recipe, network=network)


def frozen_layer(recipe: Recipe, data: Data) -> Recipe:
    """A layer that was to be thawed."""
    first = next(m for m in recipe.network.modules() if isinstance(m, nn.Linear))
    first.requires_grad_(False)
    return recipe


def deep_and_saturated(recipe: Recipe, data: Data) -> Recipe:
    """Five layers of sigmoids whose weights have a spread of 1."""
    network = models.mlp(data.shape, [64] * 5, data.outputs, activation="sigmoid")
    return replace(recipe, network=models.initialise(network, "normal", bias="normal"))


def geoscientists(eta: float, decay: float, examples: int) -> Study:
    """The start that Nielsen's chapter 3 begins its search with: eta 10, lambda 1000.

    784-30-10 sigmoid units, binary cross-entropy, minibatches of 10, lambda divided by n.
    """

    def recipe(trial: optuna.Trial, data: Data) -> Recipe:
        network = models.mlp(data.shape, [30], data.outputs, activation="sigmoid")
        return Recipe(
            network=models.initialise(network, "fan_in_normal", bias="normal"),
            loss=losses.BinaryCrossEntropy(),
            optimizer=partial(torch.optim.SGD, lr=trial.suggest_float("lr", 0.01, 100, log=True)),
            l2=trial.suggest_float("lambda", 0.01, 1e4, log=True),
            batch_size=10,
        )

    return Study(
        "geoscientists",
        recipe,
        data=partial(datasets.mnist, normalise="unit"),
        split=Split(validation=10_000, selection=0.0, shuffle=False),
        stages=[Stage(trials=1, epochs=4000 / examples, sampler="random", pruner="none")],
        start={"lr": eta, "lambda": decay},
        early_stopping=None,
        validate_every=1000,
    )
