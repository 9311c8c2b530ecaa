"""The gradient check: backpropagation against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nnstudy.diagnostics.gradient.burn_in import burn_in, nudge
from nnstudy.diagnostics.gradient.kinks import Winners
from nnstudy.diagnostics.gradient.objective import Objective, double_copy, kept_random_states
from nnstudy.diagnostics.gradient.result import GradientCheck
from nnstudy.diagnostics.gradient.tensors import check_tensors
from nnstudy.errors import UserError


def gradient_check(
    model: nn.Module,
    loss: Callable[[Any, Any], Tensor],
    batch: tuple[Tensor, Tensor],
    *,
    penalty: Callable[[nn.Module], Tensor] | None = None,
    examples: int | None = 3,
    coordinates: int = 5,
    burn_in_steps: int = 10,
    seconds: float = 10.0,
    seed: int = 0,
) -> GradientCheck:
    """Compares the gradient that backpropagation gives with centred differences of the loss.

    For each parameter tensor, biases included, some coordinates and one direction through the
    whole tensor are moved by h to both sides::

        numerical = (f(w + h) - f(w - h)) / (2 h)
        error     = |analytic - numerical| / max(|analytic|, |numerical|),  0 if both are zero

    h is 1e-5; 1e-4 and 1e-6 are tried before a disagreement is believed. What counts as a
    disagreement depends on the depth of the network and on whether it has kinks, see
    ``nnstudy.diagnostics.gradient.bands``. A derivative next to a kink of a ReLU, a maximum or a
    hinge says nothing if it disagrees, and is left out. All of this follows CS231n, "Learning",
    section "Gradient Checks", https://cs231n.github.io/neural-networks-3/.

    It works on a copy in double precision, on the model's device and in the modes its modules
    are in (dropout and batch norm are part of the function; random states are the same at each
    evaluation). The copy is first moved a little at random and trained for some steps, so that
    the point is not the special one of the initial weights. The model, its gradients and
    buffers, and all random states stay as they are.

    A wrong gradient is usually that of a custom ``torch.autograd.Function``. All tensors before
    it in the network are wrong then, none behind it; ``torch.autograd.gradcheck`` tells which
    of its inputs. That function is not used here, since it knows no kinks, has absolute tolerances
    and compares all coordinates or one direction. Where a gradient is wrong on purpose (an
    estimator that goes straight through a rounding, a ``detach``), the check says so as well. The
    gradient of ``nn.Embedding`` at its ``padding_idx``, always zero, is not looked at.

    A tensor costs two evaluations of the loss for each coordinate and the direction, six where
    all steps are tried, and no more after the first wrong derivative. Where ``seconds`` would not
    be enough for two evaluations each, there are fewer coordinates; where not for one coordinate,
    the directions alone; and where not for these, all tensors are moved at once, and one by one
    only if that disagrees. The burn-in is shorter too, then.

    Args:
        model: Any module; called with the inputs.
        loss: Takes ``(outputs, targets)`` and returns one number; only the loss on the data, since
            a penalty could hide what is wrong with it.
        batch: ``(inputs, targets)``, examples along the first dimension. Inputs and targets that
            are floating-point numbers are converted to double precision.
        penalty: The regularisation loss as a function of the model; checked by itself.
        examples: How many of the first examples to take, few because each has its kinks; None
            takes all of them.
        coordinates: How many to check in each tensor, if there are so many.
        burn_in_steps: Steps of the training before the check, at most.
        seconds: What it may take, roughly, if the gradient is right.
        seed: Of all that is drawn.

    Returns:
        What was found, tensor by tensor; ``str`` of it is a table.

    Raises:
        UserError: If the model cannot be copied or evaluated in double precision, has nothing
            to train, or the loss is not one finite number, the same each time.
    """
    _check_arguments(
        model, batch, examples=examples, coordinates=coordinates, burn_in_steps=burn_in_steps
    )
    if not seconds > 0:
        raise UserError(f"gradient_check: seconds must be above 0, got {seconds}")
    device = next(model.parameters()).device
    with kept_random_states(model):
        work = double_copy(model)
        wanted = _double_loss(loss)
        inputs, targets = (_double(tensor.detach()[:examples].to(device)) for tensor in batch)
        data_loss = Objective(work, lambda network: wanted(network(inputs), targets), seed)
        generator = torch.Generator().manual_seed(seed)
        _settle(data_loss, burn_in_steps, seconds, generator)
        found = check_tensors(work, data_loss, coordinates, seconds, generator)
        if penalty is not None:
            alone = Objective(work, penalty, seed)
            found_alone = check_tensors(work, alone, coordinates, seconds, generator)
            found = replace(found, penalty=found_alone)
        return found


def _settle(objective: Objective, steps: int, seconds: float, generator: torch.Generator) -> None:
    """Brings the parameters where the check is made; refuses what cannot be checked."""
    first, moved = Winners(), Winners()
    value = objective.value(first)
    if not math.isfinite(value):
        raise UserError(f"gradient_check: the loss is {value}; look at the inputs and weights")
    if not math.isclose(objective.value(), value, rel_tol=1e-12):
        raise UserError(
            "gradient_check: the loss differs from one evaluation to the next, with the same"
            " random seed and buffers. Does the model keep a state, or a generator of its own?"
        )
    nudge(objective, generator)
    objective.value(moved)
    if not first.lowered_alike(moved):
        raise UserError(
            "gradient_check: the model or the loss converts to single precision on its way."
            " Finite differences need float64 from end to end: convert to the dtype of the input"
        )
    # A step costs about three evaluations: forwards, and twice that backwards.
    burn_in(objective, math.ceil(min(steps, seconds / 4 / (3 * objective.seconds))))


def _double_loss(loss: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    if isinstance(loss, nn.Module):
        return double_copy(loss)
    if isinstance(loss, partial):
        named = {name: _double(value) for name, value in loss.keywords.items()}
        return partial(loss.func, *map(_double, loss.args), **named)
    return loss


def _double(value: Any) -> Any:
    """Returns a copy of a tensor, in double precision if it holds floating-point numbers."""
    if not isinstance(value, Tensor):
        return value
    return value.detach().to(torch.float64 if value.is_floating_point() else value.dtype, copy=True)


def _check_arguments(model: nn.Module, batch: Any, **counts: int | None) -> None:
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()):
        raise UserError("gradient_check: the model has lazy layers; call it with inputs first")
    if not any(p.requires_grad and p.numel() for p in model.parameters()):
        raise UserError("gradient_check: the model has no trainable parameters")
    is_pair = isinstance(batch, (tuple, list)) and len(batch) == 2
    if not is_pair or not all(isinstance(part, Tensor) and part.ndim for part in batch):
        raise UserError("gradient_check: batch must be (inputs, targets), two tensors")
    inputs, targets = batch
    if len(inputs) != len(targets) or not len(inputs):
        raise UserError(
            f"gradient_check: batch has {len(inputs)} inputs and {len(targets)} targets;"
            " give one target for each input, and one example at least"
        )
    for name, least in (("examples", 1), ("coordinates", 1), ("burn_in_steps", 0)):
        count = counts[name]
        if count is not None and count < least:
            raise UserError(f"gradient_check: {name} must be at least {least}, got {count}")
