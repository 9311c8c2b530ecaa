"""PyTorch's optimizers against the update formulas of the course notes.

Source: CS231n, "Learning", sections "SGD and bells and whistles" and "Per-parameter adaptive
learning rate methods". ``x`` is the parameter, ``dx`` its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

RATE = 0.1
STEPS = 6


def gradient(x: float) -> float:
    """Of ``(x - 3)^2 + x^4 / 4``."""
    return 2 * (x - 3) + x**3


def sgd(x: float) -> Iterator[float]:
    while True:
        x += -RATE * gradient(x)
        yield x


def momentum(x: float, mu: float = 0.9) -> Iterator[float]:
    v = 0.0
    while True:
        v = mu * v - RATE * gradient(x)
        x += v
        yield x


def nesterov(x: float, mu: float = 0.9) -> Iterator[float]:
    v = 0.0
    while True:
        v_prev = v
        v = mu * v - RATE * gradient(x)
        x += -mu * v_prev + (1 + mu) * v
        yield x


def adagrad(x: float, eps: float = 1e-10) -> Iterator[float]:
    cache = 0.0
    while True:
        dx = gradient(x)
        cache += dx**2
        x += -RATE * dx / (math.sqrt(cache) + eps)
        yield x


def rmsprop(x: float, decay_rate: float = 0.99, eps: float = 1e-8) -> Iterator[float]:
    cache = 0.0
    while True:
        dx = gradient(x)
        cache = decay_rate * cache + (1 - decay_rate) * dx**2
        x += -RATE * dx / (math.sqrt(cache) + eps)
        yield x


def adam(x: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Iterator[float]:
    m = v = 0.0
    t = 0
    while True:
        t += 1
        dx = gradient(x)
        m = beta1 * m + (1 - beta1) * dx
        v = beta2 * v + (1 - beta2) * dx**2
        mt, vt = m / (1 - beta1**t), v / (1 - beta2**t)
        x += -RATE * mt / (math.sqrt(vt) + eps)
        yield x


def adamw(x: float, decay: float = 0.01, **betas: float) -> Iterator[float]:
    """Decoupled weight decay: Loshchilov and Hutter 2019, algorithm 2."""
    m = v = 0.0
    t = 0
    while True:
        t += 1
        dx = gradient(x)
        x -= RATE * decay * x
        m, v = 0.9 * m + 0.1 * dx, 0.999 * v + 0.001 * dx**2
        x += -RATE * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        yield x


@pytest.mark.parametrize(
    ("optimizer", "options", "formula"),
    [
        (torch.optim.SGD, {}, sgd),
        (torch.optim.SGD, {"momentum": 0.9}, momentum),
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, nesterov),
        (torch.optim.Adagrad, {}, adagrad),
        (torch.optim.RMSprop, {}, rmsprop),
        (torch.optim.Adam, {}, adam),
        (torch.optim.AdamW, {"weight_decay": 0.01}, adamw),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_optimizer_follows_the_formula_of_the_notes(
    optimizer: Any, options: dict[str, Any], formula: Callable[[float], Iterator[float]]
) -> None:
    x = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    stepping = optimizer([x], lr=RATE, **options)
    found = []
    for _ in range(STEPS):
        stepping.zero_grad()
        ((x - 3) ** 2 + x**4 / 4).backward()
        stepping.step()
        found.append(x.item())

    expected = [value for value, _ in zip(formula(1.0), range(STEPS), strict=False)]

    # The notes' Nesterov keeps the velocity, PyTorch the sum of gradients: equal at one rate.
    assert found == pytest.approx(expected, rel=1e-6)
