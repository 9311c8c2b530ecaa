"""Which layers are dead or saturated before any learning."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.checks.probing import draw
from nnstudy.preflight.result import Check, Result

EXAMPLES = 256

FLAT = 0.1
"""A sigmoid or tanh is saturated where its slope is below this share of its slope at zero.

Activations below 0.026 or above 0.974 for the sigmoid, beyond 0.949 for tanh; there the gradient
that passes is a tenth. Glorot and Bengio 2010, section 3, show how it stalls learning.
"""

SATURATED = 0.5
"""The share of a layer's activations that may be saturated before any learning.

With inputs of variance 1, standard normal weights saturate nine of ten; what is divided by the
square root of the fan-in saturates one of a hundred.
"""

_NAMES = {"relu": "dead", "relu_": "dead", "relu6": "dead"} | dict.fromkeys(
    ("sigmoid", "sigmoid_", "tanh", "tanh_"), "saturated"
)
_ADVICE = (
    "No gradient comes through such a layer. Initial weights that are too large saturate a sigmoid"
    " or tanh, large negative biases or inputs that are far from zero kill a ReLU: divide the"
    " weights by the square root of the fan-in, start biases at 0, normalise the inputs."
)
_result = partial(Result, "dead layers", "configuration")


def run(candidate: Candidate) -> list[Result]:
    """Looks at the activations of the untrained network on a few hundred examples.

    A layer of rectifiers is dead where all its units are zero on all examples; CS231n, "Neural
    Networks Part 1", "Commonly used activation functions". What happens inside of PyTorch's
    recurrent layers cannot be seen.
    """
    network = candidate.plain_recipe().network
    is_class = candidate.data.task == "classification"
    inputs, _ = draw(candidate.data.train, EXAMPLES, candidate.device, classes=is_class)
    shares = activity(network, inputs)
    if not shares:
        return [_result("skipped", "the network has no ReLU, sigmoid or tanh layer")]
    faulty = {
        name: f"{share:.0%} {what}"
        for name, (what, share) in shares.items()
        if (share == 1 if what == "dead" else share > SATURATED)
    }
    figures = {name: {"what": what, "share": share} for name, (what, share) in shares.items()}
    made = partial(_result, figures=figures, params=candidate.params)
    if faulty:
        found = ", ".join(f"{name} is {words}" for name, words in faulty.items())
        return [made("failed", f"of {len(shares)} layers of activations {found}", _ADVICE)]
    name = max(shares, key=lambda name: shares[name][1])
    found = f"at most {shares[name][1]:.0%} of a layer's units are {shares[name][0]} ({name})"
    return [made("passed", found)]


def activity(network: nn.Module, inputs: Tensor) -> dict[str, tuple[str, float]]:
    """Returns for each layer of activations what may be wrong with it, and for what share.

    Args:
        network: Run once in training mode.
        inputs: A minibatch.

    Returns:
        By the name of the module that computes the activation, ``("dead", share)`` of the units
        of rectifiers or ``("saturated", share)`` of the activations of sigmoids and tanhs.
    """
    running: list[str] = []
    handles = []
    for name, module in network.named_modules():
        enter, leave = _following(running, name or type(network).__name__)
        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    watch = _Watch(running)
    try:
        with torch.no_grad(), watch:
            network.train()(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return watch.shares


def _following(running: list[str], name: str) -> tuple[Callable[..., None], Callable[..., None]]:
    def enter(*_: Any) -> None:
        running.append(name)

    def leave(*_: Any) -> None:
        running.pop()

    return enter, leave


class _Watch(TorchFunctionMode):
    """Sees activation functions wherever they are called, as modules or as functions."""

    def __init__(self, running: list[str]) -> None:
        super().__init__()
        self.shares: dict[str, tuple[str, float]] = {}
        self._running = running

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in _NAMES and isinstance(outputs, Tensor) and outputs.ndim > 1:
            layer, number = self._running[-1], 1
            while (key := layer if number == 1 else f"{layer}, {name} {number}") in self.shares:
                number += 1
            self.shares[key] = _NAMES[name], _share(name, outputs)
        return outputs


def _share(name: str, outputs: Tensor) -> float:
    if "relu" in name:
        # Features come last in vectors and sequences, channels second in images.
        by_unit = outputs.movedim(1 if outputs.ndim >= 4 else -1, 0).flatten(1)
        return (by_unit.amax(1) <= 0).double().mean().item()
    slope = 4 * outputs * (1 - outputs) if "sigmoid" in name else 1 - outputs.square()
    return (slope < FLAT).double().mean().item()


CHECK = Check("dead layers", "configuration", run)
