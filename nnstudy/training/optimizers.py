"""From a recipe to its optimizer, with the penalties where the optimizer's kind can carry them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

from nnstudy.errors import UserError
from nnstudy.training import regularisation
from nnstudy.training.recipe import Recipe


class LossPenalty(NamedTuple):
    """Penalties that must be terms of the loss, since the optimizer cannot carry them.

    Attributes:
        weight_decay: Strength of L2, in PyTorch's spelling.
        l1: Strength of L1, divided by the number of examples already.
    """

    weight_decay: float = 0.0
    l1: float = 0.0


def make_optimizer(
    recipe: Recipe, network: nn.Module, examples: int
) -> tuple[Optimizer, LossPenalty]:
    """Makes the optimizer of a recipe.

    Weight decay goes into the optimizer, L1 and max-norm happen after each of its steps. L-BFGS
    evaluates the loss several times a step and takes no parameter groups: its penalties are
    terms of the loss.

    Args:
        recipe: What to train.
        network: Its network, on its device.
        examples: Number of training examples, by which ``l1`` and ``l2`` are divided.

    Returns:
        The optimizer, and what has to be added to the loss.

    Raises:
        UserError: If there is nothing to train, or the optimizer has no weight decay.
    """
    weight_decay = recipe.weight_decay or recipe.l2 / examples
    l1 = recipe.l1 / examples
    optimizer = _call(recipe, network, weight_decay)
    penalty = LossPenalty()
    if isinstance(optimizer, torch.optim.LBFGS):
        penalty = LossPenalty(weight_decay, l1)
    elif weight_decay and "weight_decay" not in optimizer.defaults:
        raise UserError(
            f"{type(optimizer).__name__} has no weight decay; leave weight_decay and l2 at 0"
        )
    elif l1:
        regularisation.attach_l1(optimizer, regularisation.weights(network), l1)
    if recipe.max_norm is not None:  # last, so that it holds after the step
        regularisation.attach_max_norm(optimizer, network, recipe.max_norm)
    return optimizer, penalty


def _call(recipe: Recipe, network: nn.Module, weight_decay: float) -> Optimizer:
    parameters = [p for p in network.parameters() if p.requires_grad]
    if not parameters:
        raise UserError("the network has no parameters to train")
    try:
        optimizer = recipe.optimizer(
            regularisation.parameter_groups(network, weight_decay) if weight_decay else parameters
        )
    except ValueError:
        optimizer = recipe.optimizer(parameters)
        if not isinstance(optimizer, torch.optim.LBFGS):  # which alone takes no groups
            raise
    if not isinstance(optimizer, Optimizer):
        raise UserError(
            "Recipe(optimizer=...) must return a torch.optim.Optimizer,"
            f" got {type(optimizer).__name__}"
        )
    return optimizer
