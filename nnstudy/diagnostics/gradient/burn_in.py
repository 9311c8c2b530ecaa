"""A short training before the check, which does not take the gradient's word for it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nnstudy.diagnostics.gradient.objective import Objective

_NUDGE = 0.01  # of a tensor's root mean square, or as it is where that is zero
_STEP = 0.05


@torch.no_grad()
def nudge(objective: Objective, generator: torch.Generator) -> None:
    """Moves all parameters a little, at random: off zeros, and off kinks that lie there."""
    for parameter in objective.parameters.values():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.add_(noise.to(parameter.device), alpha=_NUDGE * _size(parameter))


def burn_in(objective: Objective, steps: int) -> None:
    """Trains until the loss has begun to go down, and not below half of what it was.

    Each step moves every tensor against its gradient by a share of its own length. It is taken
    back and the share halved where the loss does not fall, so that a wrong gradient can do no
    harm; and likewise where it falls too far, since at a loss of zero there is nothing to check.

    Args:
        objective: Its parameters are changed in place.
        steps: How many steps to try at most, each an evaluation with its gradient.
    """
    share = _STEP
    value, gradients = objective.gradients()
    bottom = value - value.abs() / 2
    for _ in range(steps):
        before = {name: p.detach().clone() for name, p in objective.parameters.items()}
        _descend(objective, gradients, share)
        moved, next_gradients = objective.gradients()
        if bottom <= moved < value:
            value, gradients = moved, next_gradients
            continue
        share /= 2
        with torch.no_grad():
            for name, parameter in objective.parameters.items():
                parameter.copy_(before[name])


@torch.no_grad()
def _descend(objective: Objective, gradients: dict[str, Tensor | None], share: float) -> None:
    for name, parameter in objective.parameters.items():
        gradient = gradients[name]
        length = 0.0 if gradient is None else float(gradient.norm())
        if gradient is not None and 0 < length < math.inf:
            distance = share * _size(parameter) * math.sqrt(parameter.numel())
            parameter.sub_(gradient, alpha=distance / length)


def _size(parameter: Tensor) -> float:
    """Returns the root mean square of a tensor, or 1 where that is zero."""
    return float(parameter.square().mean().sqrt()) or 1.0
