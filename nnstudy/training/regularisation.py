"""L2, L1 and max-norm penalties on weights, not on biases or normalisation parameters.

Two spellings of the strength are in use. Nielsen's book divides its lambda by the number n of
training examples: the cost has ``lambda / (2n) * sum w^2`` and a step of gradient descent does
``w -= lr * lambda / n * w``. PyTorch's ``weight_decay`` is not divided: ``w -= lr * weight_decay
* w``. So ``weight_decay = lambda / n``. Strengths here are in PyTorch's spelling; a recipe takes
both (``weight_decay``, ``l2``).

Adam and its kin treat ``weight_decay`` as part of the gradient and rescale it with the rest;
AdamW applies it to the weights as above (Loshchilov and Hutter 2019).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from nnstudy.errors import UserError
from nnstudy.models import weights
from nnstudy.models.parameters import named_weights

__all__ = ["L1Handle", "attach_l1", "attach_max_norm", "parameter_groups", "penalty", "weights"]


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Splits the trainable parameters into those that decay and those that do not.

    Args:
        network: Any module.
        weight_decay: L2 penalty of the weights, in PyTorch's spelling.

    Returns:
        Groups for an optimizer: the weights, then the rest with a decay of 0. A group that
        would be empty is left out.
    """
    decaying = {id(weight) for weight in weights(network)}
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [parameter for parameter in trainable if id(parameter) in decaying],
            "weight_decay": weight_decay,
        },
        {
            "params": [parameter for parameter in trainable if id(parameter) not in decaying],
            "weight_decay": 0.0,
        },
    ]
    return [group for group in groups if group["params"]]


def penalty(network: nn.Module, weight_decay: float, l1: float) -> Tensor:
    """Returns the penalty as a term of the loss, for optimizers that know none (L-BFGS).

    ``weight_decay / 2 * sum w^2 + l1 * sum |w|``, whose gradient is what ``weight_decay`` and
    ``attach_l1`` apply.

    Args:
        network: Its weights are penalised.
        weight_decay: L2 penalty.
        l1: L1 penalty.
    """
    present = weights(network)
    if not present:
        return torch.zeros(())
    total = torch.zeros((), device=present[0].device)
    if weight_decay:
        total = total + weight_decay / 2 * sum(weight.square().sum() for weight in present)
    if l1:
        total = total + l1 * sum(weight.abs().sum() for weight in present)
    return total


def attach_l1(optimizer: Optimizer, parameters: Iterable[Tensor], strength: float) -> L1Handle:
    """Lets each step of an optimizer also move weights by a constant amount towards zero.

    ``w -= lr * strength * sgn(w)``, with w as before the step and the learning rate as of the
    step: the update of the survey of Nielsen's chapter 3, whose lambda is divided by n
    (``strength = lambda / n``). The survey's cost has half of it, ``lambda / (2n) * sum |w|``;
    its update is taken. It is applied to the weights and not to the gradient, so that no
    adaptive method rescales it. Parameters without a gradient stay where they are.

    A weight may overshoot zero by up to ``lr * strength``, and then goes back.

    Args:
        optimizer: Holds the parameters in its groups.
        parameters: What to shrink, for example ``weights(network)``.
        strength: L1 penalty, not divided by anything.

    Returns:
        A handle whose ``remove()`` ends it.
    """
    return L1Handle(optimizer, parameters, strength)


class L1Handle:
    """The L1 penalty on an optimizer's steps; ``remove`` takes it off."""

    def __init__(self, optimizer: Optimizer, parameters: Iterable[Tensor], strength: float) -> None:
        wanted = {id(parameter) for parameter in parameters}
        self._groups: list[list[Tensor]] = [
            [parameter for parameter in group["params"] if id(parameter) in wanted]
            for group in optimizer.param_groups
        ]
        self._strength = strength
        self._pending: list[tuple[float, list[Tensor], list[Tensor]]] = []
        self._handles = (
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        )

    def remove(self) -> None:
        """Takes the penalty off the optimizer."""
        for handle in self._handles:
            handle.remove()

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        self._pending = []
        for group, parameters in zip(optimizer.param_groups, self._groups, strict=False):
            moving = [parameter for parameter in parameters if parameter.grad is not None]
            if moving:
                shift = float(group["lr"]) * self._strength
                self._pending.append((shift, moving, _signs(moving)))

    @torch.no_grad()
    def _after_step(self, *_: Any) -> None:
        for shift, parameters, signs in self._pending:
            torch._foreach_add_(parameters, signs, alpha=-shift)
        self._pending = []


@torch.no_grad()
def _signs(parameters: list[Tensor]) -> list[Tensor]:
    return list(torch._foreach_sign(parameters))


def attach_max_norm(optimizer: Optimizer, network: nn.Module, limit: float) -> RemovableHandle:
    """Lets each step of an optimizer end with no unit's incoming weights longer than a limit.

    The incoming weights of a unit are a row of a weight matrix or one filter of a convolution;
    where their L2 norm exceeds the limit they are scaled down to it (Srivastava et al. 2014,
    "Dropout", section 5.1; limits of 3 to 4 are typical). Embeddings, whose rows are not
    incoming weights, are left alone.

    Args:
        optimizer: Of the network's weights.
        network: Whose weights are limited.
        limit: Largest norm, above 0.

    Returns:
        A handle whose ``remove()`` ends it.

    Raises:
        UserError: If the limit is not above 0.
    """
    if not limit > 0:
        raise UserError(f"max_norm must be above 0, got {limit}")
    limited = [
        (module, weight)
        for module, _, weight in named_weights(network)
        if weight.requires_grad and not isinstance(module, (nn.Embedding, nn.EmbeddingBag))
    ]

    @torch.no_grad()
    def limit_norms(*_: Any) -> None:
        for module, weight in limited:
            if isinstance(module, nn.modules.conv._ConvTransposeNd):
                # Here the units are counted by the second dimension, within each group.
                for part in weight.chunk(module.groups):
                    part.renorm_(2, 1, limit)
            else:
                weight.renorm_(2, 0, limit)

    return optimizer.register_step_post_hook(limit_norms)
