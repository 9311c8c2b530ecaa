"""Layers that are dead or saturated before any learning are found, however they are written."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnstudy import models
from nnstudy.data import Data
from nnstudy.preflight.checks.activity import CHECK, activity
from tests.preflight.checks.candidates import clouds, only, plain

DATA = clouds(features=100)


def perceptron(data: Data, activation: str, initialiser: str, depth: int = 3) -> nn.Module:
    network = models.mlp(data.shape, [100] * depth, data.outputs, activation=activation)
    return models.initialise(network, initialiser)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "gelu"])
@pytest.mark.parametrize("initialiser", ["glorot_uniform", "he_normal", "lecun_normal"])
def test_usual_weights_neither_kill_nor_saturate(activation: str, initialiser: str) -> None:
    network = partial(perceptron, activation=activation, initialiser=initialiser)
    result = only(CHECK, plain(DATA, network=network))
    assert result.outcome == ("skipped" if activation == "gelu" else "passed"), result.found
    assert result.kind == "configuration"


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("seed", range(3))
def test_weights_of_spread_one_saturate(activation: str, seed: int) -> None:
    network = partial(perceptron, activation=activation, initialiser="normal")
    result = only(CHECK, plain(DATA, network=network, seed=seed))
    assert result.outcome == "failed"
    assert f"{activation}1 is" in result.found
    assert "saturated" in result.found
    assert "fan-in" in result.advice


def test_a_layer_of_rectifiers_that_is_all_dead_fails() -> None:
    def dead(data: Data) -> nn.Module:
        network = perceptron(data, "relu", "he_normal")
        nn.init.constant_(network.get_submodule("hidden2").bias, -1e4)
        return network

    result = only(CHECK, plain(DATA, network=dead))
    assert result.outcome == "failed"
    assert "relu2 is 100% dead" in result.found


class Functional(nn.Module):
    """Activations that no hook on a module sees."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = F.relu(self.first(inputs), inplace=True)
        hidden = torch.tanh(self.second(hidden))
        return self.third(hidden).relu().sigmoid()


def test_functions_are_seen_and_shares_are_those_counted_by_hand() -> None:
    network = Functional()
    inputs = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        nn.init.constant_(network.first.bias[:2], -9.0)
        network.second.weight *= 30
        first = network.first(inputs).relu()
        second = network.second(first).tanh()
        third = network.third(second).relu()
        last = third.sigmoid()
    found = activity(network, inputs)
    assert list(found.values()) == [
        ("dead", pytest.approx((first == 0).all(0).double().mean().item())),
        ("saturated", pytest.approx((1 - second**2 < 0.1).double().mean().item())),
        ("dead", pytest.approx((third == 0).all(0).double().mean().item())),
        ("saturated", pytest.approx((last * (1 - last) < 0.025).double().mean().item())),
    ]
    assert found["Functional"] == ("dead", 0.5)


def test_units_of_images_are_channels_and_no_hook_is_left() -> None:
    network: Any = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    nn.init.constant_(network[0].bias[:1], -1e3)
    with torch.no_grad():
        network[0].bias[:] = torch.tensor([-1e3, 0.0, 0.0, 1.0])
    assert activity(network, torch.randn(8, 1, 6, 6))["1"] == ("dead", 0.25)
    assert not any(module._forward_hooks for module in network.modules())
    assert not any(module._forward_pre_hooks for module in network.modules())
