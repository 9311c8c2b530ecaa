"""What a quick look trains: a linear model, and a recipe at other rates than its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from optuna.distributions import BaseDistribution, FloatDistribution
from torch import Tensor, nn
from torch.optim import Optimizer


class LinearModel(nn.Module):
    """One linear layer on all numbers of an input; whole numbers count as numbers too.

    Args:
        shape: The shape of one input.
        outputs: Numbers to give.
    """

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(torch.Size(shape).numel(), outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns ``(N, outputs)`` of ``(N, *shape)``."""
        scores: Tensor = self.layer(inputs.flatten(1).float())
        return scores


def count_weights(network: nn.Module) -> int | None:
    """Returns how many numbers a network learns; None for lazy layers, which do not know yet."""
    parameters = list(network.parameters())
    if any(isinstance(p, nn.UninitializedParameter) for p in parameters):
        return None
    return sum(p.numel() for p in parameters)


def scale_rate(make: Callable[[Any], Optimizer], factor: float) -> Callable[[Any], Optimizer]:
    """Returns a function that makes the same optimizer with its rates multiplied.

    So it takes no parameter that is known to be the rate; schedules begin with the new one.
    """

    def made(parameters: Any) -> Optimizer:
        optimizer = make(parameters)
        for group in optimizer.param_groups:
            group["lr"] *= factor
        return optimizer

    return made


def rate_name(distributions: Mapping[str, BaseDistribution]) -> str | None:
    """Returns the first fraction that is called like a learning rate, or None."""
    for name, asked in distributions.items():
        if isinstance(asked, FloatDistribution) and (
            "lr" in name.lower() or "learning_rate" in name.lower()
        ):
            return name
    return None


def with_rates(
    params: Mapping[str, Any], name: str, asked: BaseDistribution, factors: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """Yields a point with a rate multiplied by each factor, as far as its range goes."""
    assert isinstance(asked, FloatDistribution)
    rates = [min(max(params[name] * factor, asked.low), asked.high) for factor in factors]
    for rate in dict.fromkeys(rates):
        yield {**params, name: rate}
