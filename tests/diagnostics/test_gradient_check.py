"""Backpropagation against differences: right networks pass, wrong ones are named."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nnstudy import gradient_check
from tests.diagnostics.wrong_backwards import MistakenLeakyReLU, MistakenLinear

CLASSES = 4
LABELS = torch.randint(0, CLASSES, (8,), generator=torch.Generator().manual_seed(1))


def inputs(*shape: int) -> Tensor:
    return torch.randn(8, *shape, generator=torch.Generator().manual_seed(2))


def mlp(*between: nn.Module, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 12), *between, nn.Linear(12, CLASSES))


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(54, CLASSES),
    )


class LastState(nn.Module):
    def __init__(self, cell: nn.RNNBase) -> None:
        super().__init__()
        self.cell = cell
        self.output = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.cell(x)[0]
        return self.output(states[:, -1])


RIGHT: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "tanh": lambda: (mlp(nn.Tanh()), inputs(6)),
    "relu": lambda: (mlp(nn.ReLU(), nn.Linear(12, 12), nn.ReLU()), inputs(6)),
    "sigmoid": lambda: (mlp(nn.Sigmoid()), inputs(6)),
    "dropout": lambda: (mlp(nn.ReLU(), nn.Dropout(0.5)), inputs(6)),
    "convolutional": lambda: (convolutional(), inputs(1, 8, 8)),
    "lstm": lambda: (LastState(nn.LSTM(3, 5, batch_first=True)), inputs(7, 3)),
    "gru": lambda: (LastState(nn.GRU(3, 5, 2, batch_first=True, dropout=0.4)), inputs(7, 3)),
    "relu rnn": lambda: (
        LastState(nn.RNN(3, 5, batch_first=True, nonlinearity="relu")),
        inputs(7, 3),
    ),
    "embedding": lambda: (
        nn.Sequential(nn.Embedding(9, 3, padding_idx=0), nn.Flatten(), nn.Linear(18, CLASSES)),
        torch.arange(48).view(8, 6) % 9,
    ),
    "spectral norm": lambda: (
        mlp(nn.Tanh(), nn.utils.parametrizations.spectral_norm(nn.Linear(12, 12))),
        inputs(6),
    ),
}

LOSSES: dict[str, tuple[Any, Tensor]] = {
    "cross-entropy": (F.cross_entropy, LABELS),
    "weighted": (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0, 4.0])), LABELS),
    "partial": (partial(F.cross_entropy, weight=torch.tensor([1.0, 2.0, 3.0, 4.0])), LABELS),
    "multi-margin": (nn.MultiMarginLoss(), LABELS),
    "hinge": (nn.HingeEmbeddingLoss(), torch.sign(inputs(CLASSES))),
    "squared": (nn.MSELoss(), inputs(CLASSES)),
    "absolute": (nn.L1Loss(), inputs(CLASSES)),
    "binary": (nn.BCEWithLogitsLoss(), (inputs(CLASSES) > 0).float()),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_networks_pass(name: str) -> None:
    model, x = RIGHT[name]()
    check = gradient_check(model, F.cross_entropy, (x, LABELS))
    assert check.verdict == "passed", check
    assert not check.is_zero
    assert [tensor.name for tensor in check.tensors] == [
        name for name, _ in model.named_parameters()
    ]


@pytest.mark.parametrize("name", LOSSES)
def test_right_networks_pass_with_every_loss(name: str) -> None:
    loss, targets = LOSSES[name]
    check = gradient_check(mlp(nn.ReLU()), loss, (inputs(6), targets))
    assert check.verdict == "passed", check
    assert not check.is_zero


@given(
    seed=st.integers(0, 2**31),
    activations=st.lists(
        st.sampled_from(
            [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.GELU, nn.Hardtanh, nn.PReLU, nn.Softshrink]
        ),
        max_size=4,
    ),
    units=st.integers(1, 24),
    norm=st.sampled_from([nn.Identity, nn.BatchNorm1d, nn.LayerNorm]),
    loss=st.sampled_from(list(LOSSES)),
    size=st.sampled_from([0.01, 1.0, 30.0]),
)
@settings(max_examples=15, deadline=None)
def test_no_false_alarm_whatever_the_architecture(
    seed: int,
    activations: list[type[nn.Module]],
    units: int,
    norm: Callable[[int], nn.Module],
    loss: str,
    size: float,
) -> None:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Linear(6, units)]
    for activation in activations:
        layers += [norm(units), activation(), nn.Linear(units, units)]
    model = nn.Sequential(*layers, nn.Linear(units, CLASSES))
    function, targets = LOSSES[loss]
    check = gradient_check(model, function, (size * inputs(6), targets), seed=seed)
    assert not check.of("failed"), check
    assert not check.of("uncomfortable"), check


@pytest.mark.parametrize(
    ("mistake", "tensor"),
    [
        ("wrong sign", "2.weight"),
        ("factor two", "2.weight"),
        ("weight stays", "2.weight"),
        ("wrong bias", "2.bias"),
        ("input stays", "0.weight"),
        ("half of the input", "0.weight"),
        ("not a number", "2.weight"),
    ],
)
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_a_wrong_backward_is_found_and_its_tensor_named(
    mistake: str, tensor: str, activation: Callable[[], nn.Module]
) -> None:
    model = mlp(activation(), MistakenLinear(12, 12, mistake), activation())
    check = gradient_check(model, F.cross_entropy, (inputs(6), LABELS))
    assert check.verdict == "failed"
    expected = {tensor, "0.bias"} if tensor == "0.weight" else {tensor}
    assert {found.name for found in check.of("failed")} == expected
    assert not check.of("uncomfortable")
    assert check.functions == ("WrongLinear",)
    assert re.search(rf"^{re.escape(tensor)} +wrong", str(check), re.MULTILINE)


def test_a_gradient_that_is_one_percent_off_makes_uncomfortable() -> None:
    model = mlp(nn.Tanh(), MistakenLinear(12, 12, "one percent off"), nn.Tanh())
    check = gradient_check(model, F.cross_entropy, (inputs(6), LABELS))
    (found,) = check.of("uncomfortable")
    assert found.name == "2.weight"
    assert found.worst is not None
    assert found.worst.error == pytest.approx(0.01 / 1.01, rel=1e-4)
    assert check.verdict == "uncomfortable"


def test_what_the_coordinates_miss_the_direction_finds() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(MistakenLinear(6, 100, "one row missing"), nn.Tanh(), nn.Linear(100, 4))
    check = gradient_check(model, F.cross_entropy, (inputs(6), LABELS), coordinates=1)
    (found,) = [tensor for tensor in check.tensors if tensor.verdict != "passed"]
    assert found.name == "0.weight"
    assert found.worst is not None
    assert found.worst.index is None


def test_a_backward_that_is_wrong_at_negative_inputs_is_found() -> None:
    model = mlp(MistakenLeakyReLU())
    check = gradient_check(model, F.cross_entropy, (inputs(6), LABELS))
    assert {found.name for found in check.of("failed")} == {"0.weight", "0.bias"}


def test_a_dropout_that_is_not_differentiated_is_found() -> None:
    class Forgetful(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return F.dropout(x, 0.5)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            return grad

    class Dropout(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Forgetful.apply(x)

    check = gradient_check(mlp(nn.Tanh(), Dropout()), F.cross_entropy, (inputs(6), LABELS))
    assert {found.name for found in check.of("failed")} == {"0.weight", "0.bias"}


@pytest.mark.parametrize("mistake", ["none", "factor two"])
@pytest.mark.parametrize("factor", [1e-9, 1e-30])
def test_tiny_gradients_are_judged_like_others(factor: float, mistake: str) -> None:
    model = mlp(nn.Tanh(), MistakenLinear(12, 12, mistake))
    check = gradient_check(
        model, lambda output, target: factor * F.cross_entropy(output, target), (inputs(6), LABELS)
    )
    assert check.scale > 1e3
    assert not any(tensor.is_zero for tensor in check.tensors)
    wrong = {"2.weight"} if mistake == "factor two" else set()
    assert {found.name for found in check.of("failed")} == wrong
    assert all(abs(found.worst.analytic) < 10 * factor for found in check.tensors if found.worst)


def test_zero_gradients_are_right() -> None:
    model = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Linear(12, CLASSES))
    check = gradient_check(model, F.cross_entropy, (inputs(6), LABELS))
    # Batch norm takes off what a bias adds.
    assert [tensor.name for tensor in check.tensors if tensor.is_zero] == ["0.bias"]
    assert check.verdict == "passed"


def test_a_check_of_nothing_but_zeros_makes_uncomfortable() -> None:
    check = gradient_check(mlp(), lambda output, target: 0 * output.sum(), (inputs(6), LABELS))
    assert check.is_zero
    assert check.verdict == "uncomfortable"
    assert "nothing could be compared" in str(check)


def test_the_penalty_is_checked_alone() -> None:
    class WrongSquare(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, weight: Tensor) -> Tensor:
            ctx.save_for_backward(weight)
            return weight.square().sum()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            return grad * ctx.saved_tensors[0]

    def right(model: nn.Module) -> Tensor:
        return sum((p.abs().sum() for p in model.parameters()), torch.zeros(()))

    def wrong(model: nn.Module) -> Tensor:
        return 1e-4 * WrongSquare.apply(model.get_parameter("0.weight"))

    batch = (inputs(6), LABELS)
    passed = gradient_check(mlp(nn.Tanh()), F.cross_entropy, batch, penalty=right)
    assert passed.verdict == "passed"
    assert passed.penalty is not None
    assert passed.penalty.has_kinks
    assert not passed.has_kinks
    failed = gradient_check(mlp(nn.Tanh()), F.cross_entropy, batch, penalty=wrong)
    assert not failed.of("failed")
    assert failed.penalty is not None
    assert [found.name for found in failed.penalty.of("failed")] == ["0.weight"]
    assert failed.verdict == "failed"
    assert "the penalty alone" in str(failed)
