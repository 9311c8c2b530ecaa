"""Layers whose backward pass is wrong in a known way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class WrongLinear(torch.autograd.Function):
    """``x @ w.T + b``, and a backward pass with one mistake."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mistake: str) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.mistake = mistake
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        by_input, by_weight, by_bias = grad @ weight, grad.T @ x, grad.sum(0)
        match ctx.mistake:
            case "wrong sign":
                by_weight = -by_weight
            case "factor two":
                by_weight = 2 * by_weight
            case "one percent off":
                by_weight = 1.01 * by_weight
            case "one row missing":
                by_weight[1] = 0
            case "weight stays":
                by_weight = torch.zeros_like(by_weight)
            case "wrong bias":
                by_bias = grad.mean(0)
            case "input stays":
                by_input = torch.zeros_like(by_input)
            case "half of the input":
                by_input = torch.cat([grad[:, :1] @ weight[:1]], dim=1)
            case "not a number":
                by_weight = by_weight * torch.nan
        return by_input, by_weight, by_bias, None


class MistakenLinear(nn.Linear):
    """A linear layer whose backward pass has a mistake."""

    def __init__(self, inputs: int, outputs: int, mistake: str) -> None:
        super().__init__(inputs, outputs)
        self.mistake = mistake

    def forward(self, x: Tensor) -> Tensor:
        return WrongLinear.apply(x, self.weight, self.bias, self.mistake)


class WrongLeakyReLU(torch.autograd.Function):
    """A leaky ReLU that is differentiated like a ReLU: wrong at negative inputs alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x > 0, x, 0.1 * x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * (x > 0)


class MistakenLeakyReLU(nn.Module):
    """A leaky ReLU whose backward pass is wrong at negative inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return WrongLeakyReLU.apply(x)
