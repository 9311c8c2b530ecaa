"""An exponential moving average of a network's weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

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
