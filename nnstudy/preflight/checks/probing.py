"""What several checks ask of data, networks and losses."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from nnstudy.data import Part
from nnstudy.data.split import hold_out
from nnstudy.errors import UserError
from nnstudy.preflight.candidate import Candidate
from nnstudy.training.recipe import Loss

_FREE_STEPS = 100
"""Rprop's steps grow by 1.2 up to 50, so that a hundred reach any output that is of use."""


def draw(
    part: Part, count: int, device: torch.device, *, classes: bool, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Returns examples as the network gets them, classes in equal shares; no random state moves.

    Args:
        part: Where from.
        count: How many at most.
        device: Where to.
        classes: Whether the targets are classes.
        seed: Same seed, same examples.
    """
    order = part.order(None)
    if count < len(part):
        order = hold_out(part.targets, count, seed, stratify=classes)[1]
    return next(part.minibatches(len(order), order, device=device))


@torch.no_grad()
def uninformed_outputs(candidate: Candidate, inputs: Tensor) -> Tensor:
    """Returns what the network says where it knows nothing: with every parameter at zero.

    Zeros before a softmax become 1/C, before a log-softmax -ln C, before a sigmoid 1/2, so that
    whatever the network ends in, no class is preferred.

    Args:
        candidate: Makes the network.
        inputs: A minibatch.
    """
    network = candidate.plain_recipe().network.train()
    for parameter in network.parameters():
        parameter.zero_()
    return as_tensor(network(inputs))


def as_tensor(outputs: object) -> Tensor:
    """Returns outputs that are a tensor.

    Raises:
        UserError: If they are not; whoever asks then skips the question.
    """
    if not isinstance(outputs, Tensor):
        what = type(outputs).__name__
        raise UserError(f"the network returns {what}, which only its own loss can read")
    return outputs


def lowest_loss(
    loss: Loss,
    outputs: Tensor,
    targets: Tensor,
    through: Callable[[Tensor], Tensor] = lambda free: free,
) -> float:
    """Returns the lowest loss that outputs can have if they may be whatever they like.

    Above zero where labels are smoothed or the loss has a constant. Found by Rprop (Riedmiller
    and Braun 1993), which does not care for the scale of a loss.

    Args:
        loss: The loss.
        outputs: Of the right shape.
        targets: The targets.
        through: What confines the outputs, of free numbers.

    Returns:
        The loss; minus infinity or NaN where it has no end.
    """
    free = torch.zeros_like(outputs, requires_grad=True)
    optimizer = torch.optim.Rprop([free], lr=0.1)
    best = math.inf
    for _ in range(_FREE_STEPS):
        optimizer.zero_grad()
        value = loss(through(free), targets)
        best = min(best, value.item())
        if not math.isfinite(best):
            break
        backward(value)
        optimizer.step()
    return best


def squash(outputs: Tensor) -> Callable[[Tensor], Tensor] | None:
    """Returns the function that a network's uninformed outputs come from, None for no squashing.

    Args:
        outputs: What ``uninformed_outputs`` gave: exactly 1/C behind a softmax, -ln C behind a
            log-softmax, 1/2 behind a sigmoid.
    """
    columns = outputs.shape[-1] if outputs.ndim > 1 else 1
    for value, function in (
        (1 / columns, softmax),
        (-math.log(columns), log_softmax),
        (0.5, torch.sigmoid),
    ):
        is_there = torch.full_like(outputs, value)
        if (columns > 1 or function is torch.sigmoid) and torch.allclose(outputs, is_there):
            return function
    return None


def constant_answer(nothing: Tensor, targets: Tensor) -> Tensor:
    """Returns the outputs of whoever knows nothing but the targets' mean, where they are numbers.

    Args:
        nothing: What ``uninformed_outputs`` gave; the answer for classes, and for outputs that
            are not one for each number of a target.
        targets: The targets of as many examples.
    """
    if not targets.is_floating_point() or nothing.numel() != targets.numel():
        return nothing
    return targets.mean(0).expand_as(targets).reshape(nothing.shape)


def backward(value: Tensor) -> None:
    """Computes gradients, if the loss depends on anything that has one."""
    if value.requires_grad:
        value.backward()  # type: ignore[no-untyped-call] # torch has none


def parameter_count(network: nn.Module) -> int:
    """Returns how many numbers are trained."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def softmax(scores: Tensor) -> Tensor:
    """Returns the probabilities of the classes."""
    return torch.softmax(scores, dim=-1)


def log_softmax(scores: Tensor) -> Tensor:
    """Returns the logarithms of the probabilities."""
    return torch.log_softmax(scores, dim=-1)
