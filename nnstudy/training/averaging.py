"""Averages of one training's weights: moving along with it, and uniform over some of its epochs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nnstudy.errors import UserError


def warmed_up(decay: float, updates: int) -> float:
    """Returns the decay of an average that has been updated so many times.

    ``min(decay, (1 + t) / (10 + t))``, as TensorFlow's ``ExponentialMovingAverage`` has it:
    without it the average would remember the initial weights for some ``1 / (1 - decay)``
    steps. 0.999 is reached after 8,990 updates.

    Args:
        decay: What it shall be in the end.
        updates: Number t of updates so far.
    """
    return min(decay, (1 + updates) / (10 + updates))


class ExponentialAverage:
    """Keeps a moving average of the weights beside a network in training.

    After each step of the optimizer ``update`` moves the averaged weights a little towards the
    network's: ``average = d * average + (1 - d) * weight``, d being ``warmed_up(decay, t)``.
    Buffers (batch norm's statistics, which are averages already) are copied.

    Make it before hooks are attached to the network: the copy would carry them too.

    Attributes:
        network: The averaged network, a copy in evaluation mode that needs no gradients.
        updates: Updates so far.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Starts from the present weights.

        Args:
            network: The network in training, on its device.
            decay: Share of the average that an update keeps, between 0 and 1.

        Raises:
            UserError: If the decay is out of range.
        """
        if not 0 < decay < 1:
            raise UserError(f"the decay of an average must lie between 0 and 1, got {decay}")
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.updates = 0
        self._decay = decay
        pairs = list(zip(self.network.parameters(), network.parameters(), strict=True))
        self._averages: list[Tensor] = [average for average, _ in pairs]
        self._weights: list[Tensor] = [weight for _, weight in pairs]
        self._original = network

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the network's present weights."""
        keep = warmed_up(self._decay, self.updates)
        self.updates += 1
        torch._foreach_lerp_(self._averages, self._weights, 1 - keep)
        # Looked up each time, since modules may put a new tensor in a buffer's place.
        for copied, buffer in zip(self.network.buffers(), self._original.buffers(), strict=True):
            copied.copy_(buffer)

    def state_dict(self) -> dict[str, Any]:
        """Returns the number of updates and the averaged network's tensors, which are live."""
        return {"updates": self.updates, "network": self.network.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state that ``state_dict`` gave."""
        self.updates = state["updates"]
        self.network.load_state_dict(state["network"])


def uniform_average(weights: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Returns the mean of a network's weights at several moments of one training.

    Stochastic weight averaging (Izmailov, Podoprikhin, Garipov, Vetrov and Wilson 2018,
    "Averaging weights leads to wider optima and better generalization", section 3.2). What is
    a statistic of the activations has to be computed again, see ``refresh_batch_norm``.

    Args:
        weights: State dictionaries of the same names and shapes, at least one; each is let go of
            before the next is asked for. Of whole numbers (counters) the last ones are taken.
    """
    sums: dict[str, Tensor] = {}
    last: Mapping[str, Tensor] = {}
    count = 0
    for last in weights:
        count += 1
        for name, tensor in last.items():
            if tensor.is_floating_point() or tensor.is_complex():
                wide = tensor.to(torch.promote_types(tensor.dtype, torch.float64))
                sums[name] = sums[name] + wide if name in sums else wide
    return {
        name: (sums[name] / count).to(tensor.dtype) if name in sums else tensor
        for name, tensor in last.items()
    }


@torch.no_grad()
def refresh_batch_norm(network: nn.Module, minibatches: Iterable[Tensor]) -> None:
    """Computes the statistics of batch normalisation again, for weights that were averaged.

    They become the plain mean over the minibatches, as in ``torch.optim.swa_utils.update_bn``.
    Unlike there only these layers are as in training: nothing is dropped out, no other buffer
    changes and no random number is drawn. The network is left in evaluation mode.

    Args:
        network: On the device of the minibatches.
        minibatches: Inputs of the training part, of equal numbers of examples. None is taken
            where the network has no such statistics.
    """
    layers = [
        layer
        for layer in network.modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    ]
    network.eval()
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean
        layer.train()
    try:
        for inputs in minibatches:
            network(inputs)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        network.eval()
