"""One point of a study's space, built as often as checks need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import optuna
import torch
from optuna.distributions import BaseDistribution
from torch import nn

from nnstudy.data import Data
from nnstudy.errors import UserError
from nnstudy.study import Study
from nnstudy.study.building import Conditions
from nnstudy.training import Recipe
from nnstudy.training.devices import resolve_device
from nnstudy.training.loop import default_loss
from nnstudy.training.recipe import Loss
from nnstudy.training.seeds import seed_everything


def _nobodys(file: Path) -> bool:
    return False


@dataclass(frozen=True)
class Search:
    """What is known of the whole search, for checks that ask about more than one point.

    Attributes:
        distributions: What the recipe asks for, by name; several where its branches ask
            differently.
        probes: At how many points of the space it has been asked.
        failures: Those at which it raised, and what.
        workers: How many trials will be trained at once on this machine.
        is_own: Says of a file whether it is the user's, for the lines an error names.
    """

    distributions: Mapping[str, Sequence[BaseDistribution]] = field(default_factory=dict)
    probes: int = 0
    failures: Sequence[tuple[Mapping[str, Any], Exception]] = ()
    workers: int = 1
    is_own: Callable[[Path], bool] = _nobodys


@dataclass(frozen=True)
class Candidate:
    """One point of a study's space.

    Attributes:
        study: The study.
        data: Its data.
        conditions: What all trials have in common.
        params: The values that its recipe is given.
        seed: Where the initial weights come from.
        search: What is known of the whole search.
    """

    study: Study
    data: Data
    conditions: Conditions
    params: Mapping[str, Any]
    seed: int = 0
    search: Search = Search()

    @property
    def device(self) -> torch.device:
        """Where its network is and trials of the study will train."""
        return resolve_device(self.conditions.device)

    def recipe(self) -> Recipe:
        """Asks the recipe anew; each time with the same initial weights.

        Raises:
            UserError: If it returns a training loop of the user's own.
        """
        seed_everything(self.seed)
        trial = cast("optuna.Trial", optuna.trial.FixedTrial(dict(self.params)))  # asks alike
        recipe = self.study.recipe(trial, self.data)
        if not isinstance(recipe, Recipe):
            raise UserError("a training loop of your own cannot be looked into before it runs")
        recipe.network.to(self.device)
        if isinstance(recipe.loss, nn.Module):
            recipe.loss.to(self.device)
        return recipe

    def plain_recipe(self) -> Recipe:
        """Returns the recipe with all that regularises or draws taken out.

        No decay, penalty, constraint, clipping, dropout, augmentation, average, schedule or
        callback: what is left is the network, its loss on the data, and the optimizer. Dropout
        is found where PyTorch's own layers do it.
        """
        recipe = self.recipe()
        for module in recipe.network.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.p = 0.0
            elif isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
                module.dropout = 0.0
        return replace(
            recipe,
            weight_decay=0.0,
            l2=0.0,
            l1=0.0,
            max_norm=None,
            clip_norm=None,
            clip_value=None,
            augmentation=None,
            average=None,
            schedule=None,
            callbacks=(),
        )

    def loss(self, recipe: Recipe) -> Loss:
        """Returns the loss that a recipe of this candidate is trained with."""
        return recipe.loss or default_loss(self.data.task)
