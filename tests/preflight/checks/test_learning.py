"""What no gradient reaches, and what does not move, is named."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnstudy import Recipe, models
from nnstudy.data import Data
from nnstudy.preflight.checks.learning import CHECKS
from tests.preflight.checks.candidates import candidate, clouds, line, only, plain

FRESH, GRADIENTS, STEP = CHECKS
DATA = clouds()


class Net(nn.Module):
    """Two layers, and what a test makes of them."""

    def __init__(self, use: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 3)
        self._use = use

    def forward(self, inputs: Tensor) -> Tensor:
        return self._use(self, inputs)


class Lost(torch.autograd.Function):
    """Its backward is zero."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs * 1.0

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return torch.zeros_like(gradient)


def zero_head(data: Data) -> nn.Module:
    network = models.mlp(data.shape, [16, 16], data.outputs)
    nn.init.zeros_(network[-1].weight)
    return network


@pytest.mark.parametrize(
    ("data", "network"),
    [
        (DATA, None),
        (line(), None),
        (DATA, zero_head),
        (DATA, lambda d: models.mlp(d.shape, [16], d.outputs, batch_norm=True)),
    ],
    ids=["classes", "numbers", "zero head", "batch norm"],
)
def test_networks_that_learn_pass(data: Data, network: Any) -> None:
    point = plain(data, network=network)
    for check in CHECKS:
        result = only(check, point)
        assert result.outcome == "passed", result.found
        assert result.kind == "code"


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda n, x: n.second(n.first(x).relu().detach()), "first.weight, first.bias"),
        (lambda n, x: n.first(x)[:, :3], "second.weight, second.bias"),
        (lambda n, x: n.second(Lost.apply(n.first(x))), "first.weight, first.bias is exactly zero"),
        (lambda n, x: n.second(n.first(x).round()), "exactly zero"),
        (lambda n, x: n.second((n.first(x).relu() * 0).sqrt()), "NaN or infinite"),
    ],
    ids=["detached", "unused", "wrong backward", "rounded", "square root of zero"],
)
def test_parameters_without_a_gradient_are_named(use: Any, said: str) -> None:
    result = only(GRADIENTS, plain(DATA, network=lambda _: Net(use)))
    assert result.outcome == "failed"
    assert said in result.found
    assert result.advice


def test_a_frozen_layer_is_named_and_does_not_stop_a_launch() -> None:
    def frozen(data: Data) -> nn.Module:
        network = models.mlp(data.shape, [16], data.outputs)
        network.get_submodule("hidden1").requires_grad_(False)
        return network

    result = only(GRADIENTS, plain(DATA, network=frozen))
    assert result.outcome == "warned"
    assert "2 of 4 tensors are not trained: hidden1.weight, hidden1.bias" in result.found
    assert only(STEP, plain(DATA, network=frozen)).outcome == "passed"


def test_zero_gradients_behind_a_dead_layer_are_the_configurations() -> None:
    def dead(data: Data) -> nn.Module:
        network = models.mlp(data.shape, [16], data.outputs)
        nn.init.constant_(network.get_submodule("hidden1").bias, -1e4)
        return network

    result = only(GRADIENTS, plain(DATA, network=dead))
    assert result.outcome == "warned"
    assert "relu1 lets nothing through" in result.found


def test_parameters_that_the_optimizer_lacks_are_named() -> None:
    def half(data: Data) -> Recipe:
        network = models.mlp(data.shape, [16], data.outputs)
        output = network.get_submodule("output")
        return Recipe(
            network=network, optimizer=lambda _: torch.optim.SGD(output.parameters(), 0.1)
        )

    result = only(STEP, candidate(half, DATA))
    assert result.outcome == "failed"
    assert "does not have hidden1.weight, hidden1.bias" in result.found


class Standing(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:
        self.param_groups[0]["params"][0].grad = None
        super().step(closure)


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (partial(torch.optim.SGD, lr=0.0), "learning rate 0"),
        (partial(Standing, lr=0.1), "leaves hidden1.weight where"),
    ],
    ids=["rate of zero", "own step"],
)
def test_parameters_that_do_not_move_are_named(optimizer: Any, said: str) -> None:
    result = only(STEP, plain(DATA, optimizer=optimizer))
    assert result.outcome == "failed"
    assert said in result.found


@pytest.mark.parametrize(
    "optimizer",
    [
        partial(torch.optim.SGD, lr=1e-12),
        partial(torch.optim.LBFGS, line_search_fn="strong_wolfe"),
        partial(torch.optim.Adam, lr=1e-9),
    ],
    ids=["tiny rate", "lbfgs", "adam"],
)
def test_small_steps_are_steps(optimizer: Any) -> None:
    assert only(STEP, plain(DATA, optimizer=optimizer)).outcome == "passed"


def test_weights_that_trials_share_are_found() -> None:
    backbone = nn.Linear(8, 16)
    shared = lambda d: nn.Sequential(backbone, nn.ReLU(), nn.Linear(16, d.outputs))  # noqa: E731
    before = backbone.weight.detach().clone()
    result = only(FRESH, plain(DATA, network=shared))
    assert result.outcome == "failed"
    assert "0.weight, 0.bias" in result.found
    assert torch.equal(backbone.weight, before)


class Forgetful(torch.optim.SGD):
    """As in a loop that forgets ``zero_grad``."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        pass


class Zeroing(torch.optim.SGD):
    """Clears gradients in place, which is as good."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none=False)


def test_gradients_that_are_never_cleared_are_named() -> None:
    found = only(STEP, plain(DATA, optimizer=partial(Forgetful, lr=0.01)))
    assert found.outcome == "failed"
    assert "zero_grad of Forgetful leaves the gradients of hidden1.weight" in found.found
    assert only(STEP, plain(DATA, optimizer=partial(Zeroing, lr=0.01))).outcome == "passed"
