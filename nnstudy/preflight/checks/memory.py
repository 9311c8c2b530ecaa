"""Whether the largest network that a recipe can ask for fits memory.

What one training holds: the weights, as many gradients, what the optimizer remembers, a moving
average if there is one, and what a minibatch leaves for the way back. The last two are
measured on PyTorch's meta device, where tensors have shapes and no memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from nnstudy.data import Data
from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.corners import Corner
from nnstudy.preflight.result import Kind, Result
from nnstudy.preflight.words import shown, size
from nnstudy.training import Recipe
from nnstudy.training.devices import resolve_device
from nnstudy.training.optimizers import make_optimizer

_NAME = "memory"
_KIND: Kind = "statistics"


def check_memory(candidate: Candidate, largest: Corner) -> Result:
    """Compares what the largest network needs with what is free.

    Args:
        candidate: A point of the study's space.
        largest: The corner with the most weights; its network may be moved to the meta device.
    """
    recipe = largest.returned
    assert isinstance(recipe, Recipe)
    network = recipe.network.to("meta")
    weights = _bytes(network.parameters())
    figures: dict[str, Any] = {
        "weights": sum(p.numel() for p in network.parameters()),
        "weight_bytes": weights,
        "optimizer_bytes": optimizer_bytes(recipe, network, len(candidate.data.train)),
        "activation_bytes": activation_bytes(recipe, network, candidate.data),
    }
    average = weights if recipe.average else 0
    need = 2 * weights + average + figures["optimizer_bytes"] + (figures["activation_bytes"] or 0)
    free, sharing = _free(candidate)
    figures |= {"bytes": need, "trainings": sharing, "free_bytes": free}
    unknown = "" if figures["activation_bytes"] is not None else ", activations not counted"
    found = (
        f"the largest network, {figures['weights']:,} weights, takes {size(need)} to train"
        f"{unknown}; {sharing} at once of {size(free)} free"
    )
    if need * sharing <= free:
        return Result(_NAME, _KIND, "passed", found, "", figures)
    return Result(
        _NAME,
        _KIND,
        "warned",
        f"{found} ({shown(largest.params)})",
        "Such trials will be killed or fail. Narrow the range of sizes, take smaller minibatches"
        " or fewer workers.",
        figures,
    )


def activation_bytes(recipe: Recipe, network: nn.Module, data: Data) -> int | None:
    """Returns the bytes that a minibatch leaves for the way back, and its inputs.

    Args:
        recipe: What is trained.
        network: Its network, on the meta device.
        data: The study's data.

    Returns:
        None where the network cannot be run without numbers.
    """
    example, _ = next(iter(data.train.minibatches(1)))
    count = min(recipe.batch_size, len(data.train))
    inputs = torch.empty((count, *example.shape[1:]), dtype=example.dtype, device="meta")
    own = {p.untyped_storage()._cdata for p in network.parameters()}
    kept = {inputs.untyped_storage()._cdata: inputs.untyped_storage().nbytes()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = network(inputs)  # alive to the end, lest a storage's address be used twice
    except Exception:  # whatever needs numbers raises as it likes
        return None
    return sum(kept.values()) if outputs is not None else None


def optimizer_bytes(recipe: Recipe, network: nn.Module, examples: int) -> int:
    """Returns the bytes that the optimizer holds after a step.

    Two numbers a weight, as Adam has, where that cannot be tried without numbers.
    """
    try:
        optimizer, _ = make_optimizer(replace(recipe, network=network), network, examples)
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    except Exception:  # L-BFGS wants a closure, others compute with numbers
        return 2 * _bytes(network.parameters())
    states: list[dict[str, Any]] = list(optimizer.state.values())
    return _bytes(v for state in states for v in state.values() if isinstance(v, Tensor))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _free(candidate: Candidate) -> tuple[int, int]:
    """Returns the free bytes of the device, and how many trainings share them."""
    device = resolve_device(candidate.conditions.device)
    workers = candidate.search.workers
    if device.type != "cuda":
        return psutil.virtual_memory().available, workers
    free, _ = torch.cuda.mem_get_info(device)
    devices = torch.cuda.device_count() if device.index is None else 1
    return free, -(-workers // devices)
