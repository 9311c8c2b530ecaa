"""Points of small studies for the checks to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch
from torch import Tensor, nn

from nnstudy import Recipe, Study, datasets, models
from nnstudy.data import Data, Split, load
from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.result import Check, Result
from nnstudy.study.building import Conditions
from nnstudy.study.loading import load_study
from nnstudy.training.seeds import seed_everything

STUDIES = Path(__file__).parents[3] / "studies"
SGD = partial(torch.optim.SGD, lr=0.05)


def candidate(make: Callable[[Data], Recipe], data: Data, seed: int = 0) -> Candidate:
    """The one point of a study whose recipe asks for nothing."""
    study = Study("planted", lambda trial, data: make(data), data=None)
    metric, direction = study.objective(data.task)
    conditions = Conditions(epochs=1, metric=metric, direction=direction, device="cpu")
    return Candidate(study, data, conditions, {}, seed)


def plain(data: Data, *, seed: int = 0, network: Any = None, **fields: Any) -> Candidate:
    """A candidate with a perceptron and SGD, but for the fields given.

    Args:
        data: The data.
        seed: Of the initial weights.
        network: Makes the network of the data.
        fields: Of the recipe.
    """

    def make(data: Data) -> Recipe:
        made = network(data) if network else models.mlp(data.shape, [32], data.outputs)
        return Recipe(**{"network": made, "optimizer": SGD, **fields})

    return candidate(make, data, seed)


def shipped(name: str, points: int, seed: int = 0) -> Iterator[Candidate]:
    """Points of a shipped study: those to start with, then sampled ones."""
    study = load_study(str(STUDIES / f"{name}.py")).study
    data = load(study.data, study.split)
    metric, direction = study.objective(data.task)
    conditions = Conditions(epochs=1, metric=metric, direction=direction, device="cpu")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for point in study.start_points:
        space.enqueue_trial(point)
    for number in range(points):
        seed_everything(seed, number)
        trial = space.ask()
        study.recipe(trial, data)
        yield Candidate(study, data, conditions, dict(trial.params), seed)


def only(check: Check, candidate: Candidate) -> Result:
    """The one result of a check."""
    (result,) = check.run(candidate)
    return result


def clouds(
    examples: int = 300, features: int = 8, classes: int = 3, *, distance: float = 3.0
) -> Data:
    """Clouds of points, one a class, as far from one another as asked for."""
    generator = torch.Generator().manual_seed(7)
    targets = torch.arange(examples) % classes
    centres = distance * torch.randn(classes, features, generator=generator)
    inputs = centres[targets] + torch.randn(examples, features, generator=generator)
    return load(datasets.tensors(inputs, targets, name="clouds"), Split(seed=1))


def line(examples: int = 200, *, noise: float = 0.1, scale: float = 1.0) -> Data:
    """Numbers that are linear in five features."""
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(examples, 5, generator=generator)
    targets = inputs @ torch.arange(1.0, 6.0) + noise * torch.randn(examples, generator=generator)
    return load(datasets.tensors(inputs, scale * targets, name="line"), Split(seed=1))


class Squashed(nn.Sequential):
    """A perceptron with something behind it."""

    def __init__(self, data: Data, squash: Callable[[Tensor], Tensor]) -> None:
        super().__init__(models.mlp(data.shape, [32], data.outputs))
        self._squash = squash

    def forward(self, inputs: Tensor) -> Tensor:
        return self._squash(super().forward(inputs))
