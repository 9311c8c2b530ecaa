from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Adam

from nnstudy.diagnostics.undisturbed import undisturbed


def make() -> tuple[nn.Sequential, Adam]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 2))
    return network, Adam(network.parameters(), lr=0.01)


def disturb(network: nn.Sequential, optimizer: Adam) -> None:
    optimizer.param_groups[0].update(lr=9.0, new=1)
    network.eval()
    network[1].train()
    for _ in range(3):
        network(torch.randn(8, 4)).square().sum().backward()
        optimizer.step()
    random.random()
    np.random.rand()


@pytest.mark.parametrize("raises", [False, True])
def test_all_is_put_back_also_after_an_error(raises: bool) -> None:
    network, optimizer = make()
    network(torch.randn(8, 4)).square().sum().backward()
    optimizer.step()
    network[2].eval()
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gradients = [p.grad for p in network.parameters()]
    values = [g.clone() for g in gradients if g is not None]
    state = optimizer.state_dict()["state"]
    moments = {k: {n: torch.clone(v) for n, v in s.items()} for k, s in state.items()}
    draws = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()

    try:
        with undisturbed(network, optimizer):
            assert all(p.grad is None for p in network.parameters())
            disturb(network, optimizer)
            assert not torch.equal(network[0].weight, kept["0.weight"])
            if raises:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert raises

    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, kept[name]), name
    for parameter, gradient, value in zip(network.parameters(), gradients, values, strict=True):
        assert parameter.grad is gradient
        assert torch.equal(parameter.grad, value)
    for index, moment in optimizer.state_dict()["state"].items():
        for name, value in moment.items():
            assert torch.equal(value, moments[index][name]), name
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert network.training
    assert network[1].training
    assert not network[2].training
    assert random.getstate() == draws[0]
    assert (np.random.get_state()[1] == draws[1]).all()
    assert torch.equal(torch.get_rng_state(), draws[2])


def test_an_optimizer_without_a_state_has_none_afterwards() -> None:
    network, optimizer = make()
    with undisturbed(network, optimizer):
        disturb(network, optimizer)
    assert not optimizer.state
    assert "new" not in optimizer.param_groups[0]
