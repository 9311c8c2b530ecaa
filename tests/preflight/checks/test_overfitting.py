"""Twenty examples are learned by heart by what works, and by nothing that is broken."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnstudy import Recipe, datasets, losses, models
from nnstudy.data import Data, Split, load
from nnstudy.preflight.checks import overfitting
from tests.preflight.checks.candidates import Squashed, candidate, clouds, line, only, plain

CHECK = overfitting.CHECK
DATA = clouds(classes=10)


def sequences() -> Data:
    generator = torch.Generator().manual_seed(3)
    targets = torch.arange(200) % 4
    inputs = torch.randn(200, 6, 5, generator=generator) + targets[:, None, None]
    return load(datasets.tensors(inputs, targets), Split())


def images() -> Data:
    generator = torch.Generator().manual_seed(3)
    targets = torch.arange(200) % 4
    inputs = torch.randint(0, 256, (200, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return load(datasets.tensors(inputs, targets), Split())


WORKING: dict[str, tuple[Data, dict[str, Any]]] = {
    "cross-entropy": (DATA, {}),
    "binary cross-entropy": (DATA, {"loss": losses.BinaryCrossEntropy()}),
    "hinge": (DATA, {"loss": losses.MultiClassHinge()}),
    "quadratic over sigmoids": (DATA, {"loss": losses.Quadratic(activation="sigmoid")}),
    "smoothed labels": (DATA, {"loss": nn.CrossEntropyLoss(label_smoothing=0.2)}),
    "summed loss": (DATA, {"loss": nn.CrossEntropyLoss(reduction="sum")}),
    "probabilities": (
        DATA,
        {
            "network": partial(Squashed, squash=partial(torch.log_softmax, dim=1)),
            "loss": nn.NLLLoss(),
        },
    ),
    "linear": (DATA, {"network": lambda d: models.mlp(d.shape, [], d.outputs)}),
    "two units": (DATA, {"network": lambda d: models.mlp(d.shape, [2], d.outputs)}),
    "deep sigmoids": (
        DATA,
        {"network": lambda d: models.mlp(d.shape, [50] * 4, d.outputs, activation="sigmoid")},
    ),
    "recurrent with dropout": (
        sequences(),
        {"network": lambda d: models.recurrent(d.shape, d.outputs, layers=2, dropout=0.5)},
    ),
    "convolutional": (images(), {"network": lambda d: models.convnet(d.shape, d.outputs, [8])}),
    "numbers": (line(), {}),
    "large numbers": (line(scale=100.0), {}),
    "numbers, linear": (line(), {"network": lambda d: nn.Linear(5, 1)}),
    "one output": (
        clouds(classes=2),
        {"network": lambda _: nn.Linear(8, 1), "loss": losses.BinaryCrossEntropy()},
    ),
}


@pytest.mark.parametrize("name", WORKING)
def test_what_works_learns_by_heart_in_a_few_steps(name: str) -> None:
    data, fields = WORKING[name]
    result = only(CHECK, plain(data, **fields))
    assert result.outcome == "passed", result.found
    assert result.figures["steps"] <= 100
    assert result.kind == "code"


def test_all_regularisation_and_the_sampled_rate_are_out_of_the_way() -> None:
    def hindered(data: Data) -> Recipe:
        return Recipe(
            network=models.mlp(data.shape, [32], data.outputs, dropout=0.9),
            optimizer=partial(torch.optim.SGD, lr=1e9),
            weight_decay=100.0,
            max_norm=1e-3,
            clip_norm=1e-9,
            augmentation=torch.zeros_like,
        )

    assert only(CHECK, candidate(hindered, DATA)).outcome == "passed"


class FunctionalDropout(nn.Module):
    """Dropout that nobody sees from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(8, 64), nn.Linear(64, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.hidden(inputs))
        return self.output(nn.functional.dropout(hidden, 0.5, self.training))


def test_dropout_by_a_function_is_no_obstacle() -> None:
    assert only(CHECK, plain(DATA, network=lambda _: FunctionalDropout())).outcome == "passed"


def test_examples_with_equal_inputs_are_drawn_once() -> None:
    inputs = torch.arange(6.0).repeat(50)[:, None]
    targets = torch.randint(0, 3, (300,), generator=torch.Generator().manual_seed(1))
    data = load(datasets.tensors(inputs, targets))
    result = only(CHECK, plain(data))
    assert result.outcome == "passed"
    assert "6 examples" in result.found
    alike = load(datasets.tensors(torch.ones(100, 2), torch.arange(100) % 2))
    assert only(CHECK, plain(alike)).outcome == "skipped"


class Detached(nn.Sequential):
    """Its gradient never arrives."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).detach().requires_grad_()


def dead(data: Data) -> nn.Module:
    network = models.mlp(data.shape, [32], data.outputs)
    nn.init.constant_(network[1].bias, -1e4)
    return nn.Sequential(network, nn.Hardtanh(-1e-3, 1e-3))


FAULTS: dict[str, dict[str, Any]] = {
    "softmax twice": {"network": partial(Squashed, squash=partial(torch.softmax, dim=1))},
    "sigmoid too many": {
        "network": partial(Squashed, squash=torch.sigmoid),
        "loss": losses.BinaryCrossEntropy(),
    },
    "no gradient": {"network": lambda d: Detached(nn.Linear(8, 10))},
    "wrong sign": {"loss": lambda o, t: -losses.cross_entropy(o, t).clamp(max=10)},
    "no inputs": {"network": lambda d: Squashed(d, lambda outputs: outputs.mean(0).expand(20, 10))},
    "constant outputs": {"network": dead},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_learn_fails(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overfitting, "STEPS", 60)
    result = only(CHECK, plain(DATA, **FAULTS[fault]))
    assert result.outcome == "failed", result.found
    assert "softmax" in result.advice


def test_bad_initial_weights_are_told_from_wrong_code() -> None:
    def all_alike(data: Data) -> nn.Module:
        network = models.mlp(data.shape, [32], data.outputs)
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
        return network

    result = only(CHECK, plain(DATA, network=all_alike))
    assert result.outcome == "warned"
    assert "initial weights" in result.advice


def test_a_network_that_is_too_slow_to_tell_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overfitting, "SECONDS", 0.0)
    assert only(CHECK, plain(DATA)).outcome == "skipped"
