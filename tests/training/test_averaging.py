from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nnstudy import models
from nnstudy.errors import UserError
from nnstudy.training.averaging import (
    ExponentialAverage,
    refresh_batch_norm,
    uniform_average,
    warmed_up,
)


def train_a_little(network: nn.Module, seed: int) -> None:
    """Moves weights and batch norm's statistics in place, as a training does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    network(torch.randn(8, 3, generator=generator))


@settings(deadline=None)
@given(decay=st.floats(0.01, 0.999), updates=st.integers(1, 25))
def test_the_average_is_its_formula_with_a_decay_that_warms_up(decay: float, updates: int) -> None:
    network = nn.Linear(3, 2)
    average = ExponentialAverage(network, decay)
    wanted = network.weight.detach().clone()
    for t in range(updates):
        train_a_little(network, t)
        average.update()
        d = min(decay, (1 + t) / (10 + t))
        wanted = d * wanted + (1 - d) * network.weight.detach()
    torch.testing.assert_close(average.network.weight, wanted, rtol=1e-4, atol=1e-5)


def test_the_decay_warms_up_to_its_value_and_no_further() -> None:
    assert warmed_up(0.999, 0) == pytest.approx(0.1)
    assert warmed_up(0.999, 8_989) < 0.999
    assert warmed_up(0.999, 8_990) == pytest.approx(0.999, abs=1e-12)
    assert warmed_up(0.999, 10**6) == 0.999


def test_the_averaged_network_is_a_copy_for_evaluation() -> None:
    network = models.mlp((3,), [4], 2, batch_norm=True, dropout=0.5)
    network.train()
    average = ExponentialAverage(network, 0.9)
    assert network.training
    assert not average.network.training
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    before = [parameter.clone() for parameter in average.network.parameters()]
    train_a_little(network, 0)
    assert all(map(torch.equal, before, average.network.parameters()))


def test_buffers_are_copied_also_when_a_module_puts_a_new_one_in_place() -> None:
    network = models.mlp((3,), [4], 2, batch_norm=True)
    average = ExponentialAverage(network, 0.9)
    train_a_little(network, 0)
    norm = network.get_submodule("norm1")
    norm.running_mean = torch.full((4,), 7.0)
    average.update()
    for copied, buffer in zip(average.network.buffers(), network.buffers(), strict=True):
        assert torch.equal(copied, buffer)
    assert average.network.get_submodule("norm1").running_mean is not norm.running_mean


def test_an_average_goes_on_from_its_state() -> None:
    network = models.mlp((3,), [4], 2, batch_norm=True)
    average = ExponentialAverage(network, 0.9)
    for step in range(3):
        train_a_little(network, step)
        average.update()
    other = ExponentialAverage(models.mlp((3,), [4], 2, batch_norm=True), 0.9)
    other.load_state_dict(average.state_dict())
    assert other.updates == 3
    inputs = torch.randn(5, 3)
    assert torch.equal(other.network(inputs), average.network(inputs))
    # The loaded tensors are copies: going on with one leaves the other alone.
    train_a_little(network, 3)
    average.update()
    assert not torch.equal(other.network(inputs), average.network(inputs))


@pytest.mark.parametrize("decay", [0, 1, 1.5])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        ExponentialAverage(nn.Linear(1, 1), decay)


@settings(deadline=None)
@given(count=st.integers(1, 6))
def test_a_uniform_average_is_the_mean_of_weights_and_the_last_of_counters(count: int) -> None:
    networks = [nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)) for _ in range(count)]
    for number, network in enumerate(networks):
        for _ in range(number):
            network(torch.randn(8, 3))
    found = uniform_average(network.state_dict() for network in networks)
    wanted = torch.stack([network[0].weight for network in networks]).mean(0)  # type: ignore[arg-type]
    torch.testing.assert_close(found["0.weight"], wanted)
    assert found["1.num_batches_tracked"] == count - 1
    assert {name: tensor.dtype for name, tensor in found.items()} == {
        name: tensor.dtype for name, tensor in networks[0].state_dict().items()
    }


def test_statistics_of_batch_norm_become_those_of_the_minibatches_and_nothing_else_changes() -> (
    None
):
    inputs = 3 + 2 * torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    network = nn.Sequential(nn.BatchNorm1d(3, momentum=0.3), nn.Dropout(0.9), nn.Linear(3, 2))
    network(torch.randn(8, 3))
    weights = {name: tensor.clone() for name, tensor in network.named_parameters()}
    random = torch.get_rng_state()
    refresh_batch_norm(network, torch.split(inputs, 20))
    norm = network[0]
    torch.testing.assert_close(norm.running_mean, inputs.mean(0))
    halves = torch.stack([half.var(0) for half in torch.split(inputs, 20)])
    torch.testing.assert_close(norm.running_var, halves.mean(0))
    assert norm.momentum == 0.3
    assert not any(module.training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.named_parameters())


def test_a_network_without_statistics_is_asked_nothing() -> None:
    def minibatches() -> Iterator[torch.Tensor]:
        raise AssertionError("no minibatch is needed")
        yield

    refresh_batch_norm(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)), minibatches())
