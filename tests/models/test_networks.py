from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn

from nnstudy import models
from nnstudy.errors import UserError


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_mlp_has_the_layers_that_were_asked_for_in_their_order() -> None:
    network = models.mlp((8, 8), [30, 20], 10, "tanh", dropout=0.5, batch_norm=True)
    assert [name for name, _ in network.named_children()] == [
        "flatten",
        *("hidden1", "norm1", "tanh1", "dropout1"),
        *("hidden2", "norm2", "tanh2", "dropout2"),
        "output",
    ]
    assert count(network) == 64 * 30 + 2 * 30 + 30 * 20 + 2 * 20 + 20 * 10 + 10
    assert network(torch.rand(3, 8, 8)).shape == (3, 10)
    assert "hidden1): Linear(in_features=64, out_features=30" in repr(network)


def test_mlp_is_its_formula() -> None:
    network = models.mlp((2, 3), [4], 2, "sigmoid")
    inputs = torch.rand(5, 2, 3)
    hidden, output = network.get_submodule("hidden1"), network.get_submodule("output")
    activations = torch.sigmoid(inputs.reshape(5, 6) @ hidden.weight.T + hidden.bias)
    torch.testing.assert_close(network(inputs), activations @ output.weight.T + output.bias)


def test_mlp_without_hidden_layers_is_linear() -> None:
    assert count(models.mlp((8, 8), [], 10)) == 650


@pytest.mark.parametrize(
    ("activation", "at_minus_one"),
    [
        ("sigmoid", 1 / (1 + torch.e)),
        ("tanh", -0.76159416),
        ("relu", 0.0),
        ("leaky_relu", -0.01),
        ("gelu", -0.15865525),
    ],
)
def test_activations_by_name(activation: str, at_minus_one: float) -> None:
    layer = models.mlp((1,), [1], 1, activation).get_submodule(f"{activation}1")
    assert float(layer(torch.tensor(-1.0))) == pytest.approx(at_minus_one)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_convnet_halves_the_image_with_each_convolution(batch_norm: bool) -> None:
    network = models.convnet((3, 28, 20), 10, (8, 16), 0.3, batch_norm=batch_norm, units=32)
    assert network.get_submodule("hidden").in_features == 16 * 7 * 5
    assert network(torch.rand(2, 3, 28, 20)).shape == (2, 10)
    names = [name for name, _ in network.named_children()]
    norm = ["norm1"] if batch_norm else []
    assert names[1 : 4 + batch_norm] == ["conv1", "pool1", *norm, "relu1"]


def test_convnet_gives_the_same_in_either_memory_layout() -> None:
    network = models.convnet((1, 8, 8), 10).eval()
    images = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        after = network(images)
        plain = nn.Sequential(*list(network.children())[1:])(images)
    torch.testing.assert_close(after, plain, rtol=1e-4, atol=1e-5)
    assert all(parameter.is_contiguous() for parameter in network.parameters())


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_resnet_keeps_small_images_large_at_the_start(shape: tuple[int, int, int]) -> None:
    network = models.resnet(shape, 7)
    first = network.get_submodule("conv1")
    images = torch.rand(2, *shape)
    assert first(images).shape == (2, 64, *shape[1:])
    assert isinstance(network.get_submodule("maxpool"), nn.Identity)
    assert network.eval()(images).shape == (2, 7)


def test_resnet_keeps_torchvisions_start_for_large_images() -> None:
    with torch.device("meta"):
        network = models.resnet((1, 224, 224), 10, depth=50)
        assert network(torch.rand(2, 1, 224, 224)).shape == (2, 10)
    assert network.get_submodule("conv1").stride == (2, 2)
    assert isinstance(network.get_submodule("maxpool"), nn.MaxPool2d)
    assert count(network) == 25_557_032 - 2 * 64 * 49 - (1000 - 10) * 2049


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("layers", [1, 2])
def test_recurrent_answers_from_the_last_state_of_the_top_layer(cell: str, layers: int) -> None:
    network = models.recurrent((6, 3), 2, cell, units=5, layers=layers).eval()
    sequence = torch.rand(4, 6, 3)
    final = network.cell(sequence)[1]
    state = final[0] if cell == "lstm" else final
    torch.testing.assert_close(network(sequence), network.output(state[-1]))


def test_recurrent_reads_grey_images_row_by_row() -> None:
    network = models.recurrent((1, 8, 5), 2).eval()
    images = torch.rand(4, 1, 8, 5)
    torch.testing.assert_close(network(images), network(images[:, 0]))
    assert network.cell.input_size == 5


def test_recurrent_drops_out_between_layers_and_before_the_output(recwarn: object) -> None:
    network = models.recurrent((6, 3), 2, layers=2, dropout=0.5)
    assert network.cell.dropout == 0.5
    assert isinstance(network.dropout, nn.Dropout)
    with torch.no_grad():
        assert not torch.equal(network(torch.ones(1, 6, 3)), network(torch.ones(1, 6, 3)))
    models.recurrent((6, 3), 2, layers=1, dropout=0.5)
    assert not list(recwarn)


@pytest.mark.parametrize(
    "make",
    [
        lambda: models.mlp((8, 8), [30], 10, batch_norm=True),
        lambda: models.convnet((1, 8, 8), 10),
        lambda: models.resnet((1, 8, 8), 10),
        lambda: models.recurrent((8, 8), 10),
    ],
)
def test_networks_can_be_made_without_memory(make: Callable[[], nn.Module]) -> None:
    with torch.device("meta"):
        network = make()
    assert all(parameter.is_meta for parameter in network.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.mlp((8,), [0], 10), r"mlp\(widths=...\) .* got \(0,\)"),
        (lambda: models.mlp((8,), [2.5], 10), "whole numbers"),
        (lambda: models.mlp((8,), [3], 0), r"mlp\(outputs=...\)"),
        (lambda: models.mlp((8,), [3], 2, dropout=1), r"mlp\(dropout=...\) .* got 1"),
        (lambda: models.mlp((8,), [3], 2, "swish"), "'swish'; known are sigmoid, tanh"),
        (lambda: models.convnet((64,), 10), "takes images .* use mlp"),
        (lambda: models.convnet((1, 8, 8), 10, (4,) * 4), "4 times, .* 8 x 8 .* give 1 to 3"),
        (lambda: models.convnet((1, 8, 8), 10, ()), "0 times"),
        (lambda: models.resnet((1, 8, 8), 10, depth=20), "one of .* got 20"),
        (lambda: models.recurrent((8,), 10), "takes sequences"),
        (lambda: models.recurrent((3, 8, 8), 10), "takes sequences"),
        (lambda: models.recurrent((8, 8), 10, "mamba"), "'mamba'; known are lstm, gru, rnn"),
        (lambda: models.recurrent((8, 8), 10, layers=0), r"recurrent\(layers=...\)"),
    ],
)
def test_what_cannot_be_built_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_importing_the_models_does_not_import_torchvision() -> None:
    code = "import sys, nnstudy.models; print('torchvision' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
