"""Members of one architecture as one computation, where that is quicker than one after the other."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from nnstudy.ensembles.packaging.module import InTurn, as_scores
from nnstudy.ensembles.timing import time_in_turns

_TOLERANCE = 1e-4  # another order of additions in float32


class Stacked(nn.Module):
    """The scores of several networks of one architecture, by one batched operation for each layer.

    Args:
        networks: The networks; their weights are copied.
        classes: Whether they answer with classes.
    """

    def __init__(self, networks: Sequence[nn.Module], *, classes: bool) -> None:
        super().__init__()
        parameters, buffers = stack_module_state(list(networks))
        state = {**parameters, **buffers}
        self.classes = classes
        self._names = list(state)
        for place, tensor in enumerate(state.values()):
            self.register_buffer(self._place(place), tensor.detach())
        # Its structure alone, in a tuple lest its weights become this module's.
        self._network = (copy.deepcopy(networks[0]).to("meta"),)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the scores ``(M, N, K)`` for normalised inputs."""
        (network,) = self._network

        def one(state: dict[str, Tensor]) -> Tensor:
            return as_scores(functional_call(network, state, (inputs,)), self.classes)

        state = {name: self.get_buffer(self._place(n)) for n, name in enumerate(self._names)}
        scores: Tensor = vmap(one)(state)
        return scores

    @staticmethod
    def _place(number: int) -> str:
        return f"stacked_{number}"  # names of weights have dots, which those of buffers must not


@dataclass(frozen=True)
class Layout:
    """How members are computed.

    Attributes:
        stacked: By one batched operation for each layer, or one network after the other.
        speedup: How many times as long one after the other takes as stacked, for one example;
            None where they cannot be stacked.
        why_not: Why they cannot be stacked.
    """

    stacked: bool = False
    speedup: float | None = None
    why_not: str | None = None

    def arrange(self, networks: Sequence[nn.Module], *, classes: bool) -> nn.Module:
        """Returns the members as one module."""
        return (Stacked if self.stacked else InTurn)(networks, classes=classes)


@torch.inference_mode()
def quickest(networks: Sequence[nn.Module], examples: Tensor, *, classes: bool) -> Layout:
    """Measures which way of computing members answers one example sooner.

    Args:
        networks: In evaluation mode.
        examples: Some normalised inputs, on the networks' device; the first one is timed.
        classes: Whether the networks answer with classes.
    """
    if (why_not := _difference(networks)) is not None:
        return Layout(why_not=why_not)
    in_turn = InTurn(networks, classes=classes)
    try:
        stacked = Stacked(networks, classes=classes)
        found, wanted = stacked(examples), in_turn(examples)
    except Exception as error:  # whatever an operator without a batched form raises
        return Layout(why_not=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    if not torch.allclose(found, wanted, rtol=_TOLERANCE, atol=_TOLERANCE):
        return Layout(why_not="they differ in something that is no weight")
    speedup = time_ratio(in_turn, stacked, examples[:1])
    return Layout(speedup > 1, speedup)


def _difference(networks: Sequence[nn.Module]) -> str | None:
    """Says what keeps networks from being of one architecture."""
    if len(networks) < 2:
        return "there is one network"
    if len({repr(network) for network in networks}) > 1:
        return "they are of different architectures"
    shapes = [
        {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}
        for network in networks
    ]
    return "their weights have different shapes" if any(s != shapes[0] for s in shapes) else None


def time_ratio(one: nn.Module, other: nn.Module, inputs: Tensor) -> float:
    """Returns how many times as long one module takes as another."""

    def run(module: nn.Module) -> None:
        module(inputs)
        if inputs.is_cuda:
            torch.cuda.synchronize(inputs.device)

    return time_in_turns(lambda: run(other), lambda: run(one)).ratio
