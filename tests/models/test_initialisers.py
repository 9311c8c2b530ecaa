from __future__ import annotations

from math import sqrt

import pytest
import torch
from torch import Tensor, nn

from nnstudy import models
from nnstudy.errors import UserError
from nnstudy.models import initialise, initialisers

FAN_IN, FAN_OUT = 300, 200

STANDARD_DEVIATIONS = {
    "normal": 1.0,
    "fan_in_normal": 1 / sqrt(FAN_IN),
    "lecun_normal": 1 / sqrt(FAN_IN),
    "lecun_uniform": 1 / sqrt(FAN_IN),
    "glorot_normal": sqrt(2 / (FAN_IN + FAN_OUT)),
    "glorot_uniform": sqrt(2 / (FAN_IN + FAN_OUT)),
    "he_normal": sqrt(2 / FAN_IN),
    "he_uniform": sqrt(2 / FAN_IN),
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def kurtosis(weight: Tensor) -> float:
    """3 for a normal distribution, 1.8 for a uniform one."""
    return float((weight**4).mean() / (weight**2).mean() ** 2)


@pytest.mark.parametrize("name", sorted(STANDARD_DEVIATIONS))
@pytest.mark.parametrize("kind", ["linear", "conv", "transposed"])
def test_an_initialiser_has_its_distribution(name: str, kind: str) -> None:
    layer: nn.Module
    if kind == "linear":
        layer = nn.Linear(FAN_IN, FAN_OUT)
    elif kind == "conv":
        layer = nn.Conv2d(FAN_IN // 4, FAN_OUT // 4, 2)
    else:
        layer = nn.ConvTranspose2d(FAN_IN // 4, FAN_OUT // 4, 2)
    weight = initialise(layer, name).get_parameter("weight").detach()
    # 15,000 draws or more: the standard error of the deviation is below 0.6 %.
    assert float(weight.std()) == pytest.approx(STANDARD_DEVIATIONS[name], rel=0.03)
    assert float(weight.mean()) == pytest.approx(0, abs=4 * STANDARD_DEVIATIONS[name] / 120)
    if name.endswith("uniform"):
        assert kurtosis(weight) == pytest.approx(1.8, abs=0.05)
        assert float(weight.abs().max()) <= sqrt(3) * STANDARD_DEVIATIONS[name] * (1 + 1e-6)
    else:
        assert kurtosis(weight) == pytest.approx(3, abs=0.2)


def test_orthogonal_makes_orthonormal_rows() -> None:
    weight = initialise(nn.Linear(30, 20), "orthogonal").weight.detach()
    torch.testing.assert_close(weight @ weight.T, torch.eye(20), atol=1e-5, rtol=0)


def test_names_are_those_that_can_be_searched_over() -> None:
    assert set(initialisers.NAMES) == {*STANDARD_DEVIATIONS, "orthogonal"}


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3), ("rnn", 1)])
def test_each_gate_of_a_recurrent_layer_is_initialised_by_itself(cell: str, gates: int) -> None:
    network = models.recurrent((10, 200), 2, cell, units=100)
    initialise(network, "orthogonal")
    for gate in network.cell.get_parameter("weight_hh_l0").detach().chunk(gates):
        torch.testing.assert_close(gate @ gate.T, torch.eye(100), atol=1e-5, rtol=0)
    initialise(network, "glorot_normal")
    for gate in network.cell.get_parameter("weight_ih_l0").detach().chunk(gates):
        assert float(gate.std()) == pytest.approx(sqrt(2 / 300), rel=0.03)


def test_the_projection_of_an_lstm_has_no_gates() -> None:
    lstm = initialise(nn.LSTM(10, 12, proj_size=4), "orthogonal")
    projection = lstm.get_parameter("weight_hr_l0").detach()
    torch.testing.assert_close(projection @ projection.T, torch.eye(4), atol=1e-5, rtol=0)


def test_biases_are_zero_unless_drawn_and_normalisation_is_left_alone() -> None:
    network = models.convnet((1, 8, 8), 500)
    norm, output = network.get_submodule("norm1"), network.get_submodule("output")
    assert initialise(network, "he_normal") is network
    assert not output.bias.any()
    initialise(network, "normal", bias="normal")
    assert float(output.bias.detach().std()) == pytest.approx(1, rel=0.1)
    assert torch.equal(norm.weight, torch.ones(32))
    assert not norm.bias.any()


def test_embeddings_are_left_alone() -> None:
    embedding = nn.Embedding(5, 3)
    before = embedding.weight.detach().clone()
    initialise(embedding, "he_normal")
    assert torch.equal(embedding.weight, before)


@pytest.mark.parametrize("name", initialisers.NAMES)
def test_a_network_without_memory_can_be_initialised(name: str) -> None:
    with torch.device("meta"):
        network = nn.Sequential(models.convnet((1, 8, 8), 10), nn.LSTM(10, 3))
    initialise(network, name, bias="normal")
    assert all(parameter.is_meta for parameter in network.parameters())


def test_the_same_seed_gives_the_same_weights() -> None:
    def weights() -> Tensor:
        torch.manual_seed(1)
        return initialise(nn.Linear(4, 4), "he_uniform").weight.detach()

    assert torch.equal(weights(), weights())


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="'xavier'; known are normal, fan_in_normal"):
        initialise(nn.Linear(1, 1), "xavier")
    with pytest.raises(UserError, match="'zeros' or 'normal', got 'ones'"):
        initialise(nn.Linear(1, 1), "normal", bias="ones")
