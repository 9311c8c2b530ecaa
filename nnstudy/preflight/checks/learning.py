"""Whether every parameter gets a gradient, moves, and is a trial's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.checks.activity import activity
from nnstudy.preflight.checks.probing import backward
from nnstudy.preflight.result import Check, Result
from nnstudy.training.optimizers import make_optimizer
from nnstudy.training.seeds import derived_generator

MINIBATCHES = 5
"""Adam steps between them, so that what starts at zero on purpose gets going."""

_BATCH_SIZE = 64


def run_gradients(candidate: Candidate) -> list[Result]:
    """Looks for parameters that no gradient reaches in several minibatches.

    None is what parameters get that are not part of the loss at all; exactly zero is what comes
    through a layer that is dead, multiplied by zero or wrongly derived. Between the minibatches
    Adam steps, since the gradient of layers below one that starts at zero, as in residual
    networks, is zero at first.
    """
    result = partial(Result, "gradients", "code", params=candidate.params)
    recipe = candidate.plain_recipe()
    network, loss = recipe.network.train(), candidate.loss(recipe)
    parameters = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
    optimizer = torch.optim.Adam([p for _, p in parameters], lr=1e-3)
    largest: dict[str, float] = {}
    train = candidate.data.train
    size = min(_BATCH_SIZE, max(2, recipe.batch_size))
    order = train.order(derived_generator(0))
    inputs = torch.empty(0)
    for inputs, targets in islice(
        train.minibatches(size, order, device=candidate.device), MINIBATCHES
    ):
        if len(targets) < 2 and largest:
            break
        optimizer.zero_grad()
        backward(loss(network(inputs), targets))
        for name, parameter in parameters:
            if parameter.grad is not None:
                here = parameter.grad.abs().max().item()
                largest[name] = max(largest.get(name, 0.0), here) if here == here else math.nan
        optimizer.step()
    absent = [name for name, _ in parameters if name not in largest]
    broken = [name for name, value in largest.items() if not math.isfinite(value)]
    zero = [name for name, value in largest.items() if value == 0]
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    figures = {"absent": absent, "not_finite": broken, "zero": zero, "frozen": frozen}
    made = partial(result, figures=figures)
    if broken:
        found = f"the gradient of {_listed(broken)} is NaN or infinite"
        return [made("failed", found, "Look for a square root, norm, logarithm or division at 0.")]
    if absent:
        return [
            made(
                "failed",
                f"no gradient at all reaches {_listed(absent)}",
                "They are not part of the loss: a layer that forward does not use, a .detach(),"
                " .item() or .data, a new tensor made of values, torch.no_grad(). Use them, or"
                " take them out of the network.",
            )
        ]
    if zero:
        dead = [n for n, (what, share) in activity(network, inputs).items() if share == 1]
        because = f"; {_listed(dead)} lets nothing through" if dead else ""
        return [
            made(
                # A dead layer is one of a sampled configuration, which another check judges.
                "warned" if dead else "failed",
                f"the gradient of {_listed(zero)} is exactly zero in {MINIBATCHES} minibatches"
                + because,
                "Something multiplies it by zero: a backward of your own, a layer that is dead or"
                " wholly saturated, a mask or weight of zero, a rounding or argmax.",
            )
        ]
    if frozen:
        return [
            made(
                "warned",
                f"{len(frozen)} of {len(frozen) + len(parameters)} tensors are not trained:"
                f" {_listed(frozen)}",
                "Their requires_grad is False. If they are not frozen on purpose, set it to True.",
            )
        ]
    smallest = min(largest, key=lambda name: largest[name])
    found = f"all {len(parameters)} tensors get one; the smallest largest element is"
    return [made("passed", f"{found} {largest[smallest]:.1e} ({smallest})")]


def run_step(candidate: Candidate) -> list[Result]:
    """Hands the recipe's optimizer a gradient of ones and looks what moves.

    Afterwards ``zero_grad`` must clear it. In double precision, so that a small learning rate is no standstill.
    """
    result = partial(Result, "step", "code", params=candidate.params)
    recipe = candidate.recipe()
    network = recipe.network.double()
    optimizer, _ = make_optimizer(recipe, network, len(candidate.data.train))
    parameters = {n: p for n, p in network.named_parameters() if p.requires_grad}
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [name for name, parameter in parameters.items() if id(parameter) not in held]
    if missing:
        return [
            result(
                "failed",
                f"the optimizer does not have {_listed(missing)}",
                "Make it of the parameters that Recipe(optimizer=...) is handed: all of the"
                " network's that need a gradient. One that is made of another network's, or of"
                " some layers', leaves the rest as they are for ever.",
                {"missing": missing},
            )
        ]
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    def closure() -> float:
        for parameter in parameters.values():
            parameter.grad = torch.ones_like(parameter)
        return sum(parameter.detach().sum().item() for parameter in parameters.values())

    closure()
    try:
        optimizer.step(closure if isinstance(optimizer, torch.optim.LBFGS) else None)
    except TypeError as error:
        return [result("skipped", f"{type(optimizer).__name__} wants to be stepped: {error}")]
    still = [name for name, p in parameters.items() if torch.equal(p, before[name])]
    rates = sorted({float(group["lr"]) for group in optimizer.param_groups if "lr" in group})
    figures = {"still": still, "rates": rates}
    if still:
        return [
            result(
                "failed",
                f"a step for a gradient of ones leaves {_listed(still)} where they are (learning"
                f" rate {', '.join(f'{rate:g}' for rate in rates)})",
                "A learning rate of 0, a step of your own that skips them, or a max_norm that"
                " holds all weights at zero.",
                figures,
            )
        ]
    optimizer.zero_grad()
    if kept := [n for n, p in parameters.items() if p.grad is not None and p.grad.any()]:
        return [
            result(
                "failed",
                f"zero_grad of {type(optimizer).__name__} leaves the gradients of {_listed(kept)}",
                "Gradients add up until they are cleared, so that each step goes along the sum of"
                " all before it. Clear them before each backward.",
                {"kept": kept},
            )
        ]
    return [result("passed", f"a step moves all {len(parameters)} tensors", figures=figures)]


def run_fresh(candidate: Candidate) -> list[Result]:
    """Builds the network twice: no two trials may train the same weights."""
    first, second = candidate.recipe().network, candidate.recipe().network
    places = {tensor.data_ptr() for tensor in _tensors(first) if tensor.numel()}
    shared = [
        name
        for name, tensor in second.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor) and tensor.numel() and tensor.data_ptr() in places
    ]
    if not shared:
        return [Result("fresh network", "code", "passed", "each trial has weights of its own")]
    return [
        Result(
            "fresh network",
            "code",
            "failed",
            f"two trials share {_listed(shared)}",
            "The recipe hands out tensors that were made outside of it, so that a trial goes on"
            " from the weights of the one before. Build the network inside of the recipe, or"
            " copy.deepcopy what is made outside.",
            {"shared": shared},
        )
    ]


def _tensors(network: nn.Module) -> list[Tensor]:
    return [t for t in network.state_dict(keep_vars=True).values() if isinstance(t, Tensor)]


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


CHECKS = (
    Check("fresh network", "code", run_fresh),
    Check("gradients", "code", run_gradients),
    Check("step", "code", run_step),
)
