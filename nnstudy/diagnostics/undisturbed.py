"""Trying something out on a network, and leaving everything as it was."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@contextmanager
def undisturbed(model: nn.Module, optimizer: Optimizer | None = None) -> Iterator[None]:
    """Puts back at its end what was done to a model, its optimizer and the random generators.

    Put back, in place, are parameters, gradients, buffers and the mode of every module; the
    optimizer's state and the options of its groups; the states of Python's, NumPy's and
    PyTorch's generators, those of CUDA among them.

    Args:
        model: The model.
        optimizer: Its optimizer, if that is used.
    """
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    copies = [tensor.detach().clone() for tensor in tensors]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    groups = optimizer.param_groups if optimizer else []
    options = [{name: group[name] for name in group if name != "params"} for group in groups]
    states = {p: copy.deepcopy(state) for p, state in optimizer.state.items()} if optimizer else {}
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        # A gradient that is there now is kept as it is, and none is added to it.
        for parameter, _ in gradients:
            parameter.grad = None
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            with torch.no_grad():
                for tensor, kept in zip(tensors, copies, strict=True):
                    tensor.copy_(kept)
            for parameter, gradient in gradients:
                parameter.grad = gradient
            for module, training in modes:
                module.training = training
            for group, kept_options in zip(groups, options, strict=True):
                for name in group.keys() - kept_options.keys() - {"params"}:
                    del group[name]
                group.update(kept_options)
            if optimizer:
                optimizer.state.clear()
                optimizer.state.update(states)
