"""A scalar function of a model's parameters, in double precision, the same at each evaluation."""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from nnstudy.diagnostics.gradient.kinks import Winners
from nnstudy.errors import UserError


class Objective:
    """What is differentiated.

    Each evaluation begins with the same random states and the same buffers, so that dropout
    drops the same units and running statistics do not run.

    Attributes:
        parameters: The trainable ones by name; shared ones once, by their first name.
        scale: What values and gradients are multiplied by.
        evaluations: How often it was evaluated.
        seconds: How long an evaluation takes: the fastest one did.
    """

    def __init__(self, model: nn.Module, function: Callable[[nn.Module], Tensor], seed: int):
        self.parameters = {
            name: p for name, p in model.named_parameters() if p.requires_grad and p.numel()
        }
        self.scale = 1.0
        self.evaluations = 0
        self.seconds = math.inf
        self._model = model
        self._function = function
        self._seed = seed
        self._buffers = [
            (module, name, buffer.clone())
            for module in model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]

    def value(self, winners: Winners | None = None) -> float:
        """Evaluates the function; its decisions go to ``winners``."""
        return float(self._evaluate(winners).detach())

    def gradients(self) -> tuple[Tensor, dict[str, Tensor | None]]:
        """Returns the value and what backpropagation gives; None for parameters it misses."""
        value = self._evaluate(None)
        try:
            found = torch.autograd.grad(value, [*self.parameters.values()], allow_unused=True)
        except Exception as error:
            raise UserError(
                "gradient_check: the backward pass of the copy in double precision ends with"
                f" {type(error).__name__}: {error}"
            ) from error
        dense = (g.detach().to_dense() if g is not None else None for g in found)
        return value.detach(), dict(zip(self.parameters, dense, strict=True))

    def custom_functions(self) -> tuple[str, ...]:
        """Returns the names of the ``torch.autograd.Function`` classes that take part."""
        seen, names = set(), set()
        ahead: list[Any] = [self._evaluate(None).grad_fn]
        while ahead:
            node = ahead.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if isinstance(node, torch.autograd.function.BackwardCFunction):
                names.add(type(node).__name__.removesuffix("Backward"))
            ahead.extend(before for before, _ in node.next_functions)
        return tuple(sorted(names))

    def _evaluate(self, winners: Winners | None) -> Tensor:
        self.evaluations += 1
        started = time.perf_counter()
        for module, name, buffer in self._buffers:
            module._buffers[name] = buffer.clone()
        _seed_all(self._seed, self.parameters.values())
        # With gradients on: a forward pass may differentiate, and may do something else without.
        # Without cuDNN, whose recurrent layers keep random numbers and decisions to themselves.
        with (
            torch.enable_grad(),
            torch.backends.cudnn.flags(enabled=False),
            winners or nullcontext(),
        ):
            try:
                value = self._function(self._model)
            except UserError:
                raise
            except Exception as error:
                raise UserError(
                    "gradient_check: the copy of the model in double precision cannot be"
                    f" evaluated: {type(error).__name__}: {error}. Tensors that model or loss make"
                    " should have the dtype and device of their inputs; those they keep should be"
                    " buffers of a module; batch norm needs two examples or more"
                ) from error
            value = _checked(value) * self.scale
        self.seconds = min(self.seconds, time.perf_counter() - started)
        return value


def _checked(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise UserError(f"gradient_check: the loss must be one number, got {what}; take its mean")
    if not value.requires_grad:
        raise UserError("gradient_check: the loss does not depend on any trainable parameter")
    if value.dtype != torch.float64:
        raise UserError(
            f"gradient_check: the loss of the copy in double precision is {value.dtype}. Finite"
            " differences need float64: do not convert inside the model or the loss"
        )
    return value.reshape(())


def double_copy(module: nn.Module) -> nn.Module:
    """Returns a copy in double precision that shares nothing with the module.

    Raises:
        UserError: If it cannot be copied or converted.
    """
    if any(p.is_complex() for p in module.parameters()):
        raise UserError("gradient_check: complex parameters are not supported")
    try:
        double = copy.deepcopy(module).double()
    except Exception as error:
        raise UserError(
            "gradient_check: the model cannot be copied in double precision:"
            f" {type(error).__name__}: {error}"
        ) from error
    for part in double.modules():
        # In training it looks for the singular vectors anew each time, which are constants to
        # backpropagation; in evaluation they are to the differences too.
        if isinstance(part, parametrizations._SpectralNorm):
            part.eval()
    return double


@contextmanager
def kept_random_states(model: nn.Module) -> Iterator[None]:
    """Puts the random states of Python, NumPy and PyTorch back where they were."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(_cuda_devices(model.parameters())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _seed_all(seed: int, parameters: Any) -> None:
    random.seed(seed)
    np.random.seed(seed)
    # Not torch.manual_seed, which would seed devices that the model is not on.
    torch.default_generator.manual_seed(seed)
    for index in _cuda_devices(parameters):
        torch.cuda.default_generators[index].manual_seed(seed)


def _cuda_devices(parameters: Any) -> list[int]:
    return sorted({p.device.index for p in parameters if p.device.type == "cuda"})
