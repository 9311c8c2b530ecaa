"""A wrong gradient stops a launch, a right one is told in a line."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnstudy import losses, models
from nnstudy.data import Data
from nnstudy.preflight.checks.gradient import CHECK
from tests.diagnostics.wrong_backwards import MistakenLinear
from tests.preflight.checks.candidates import clouds, line, only, plain, shipped

TEN = clouds(classes=10)
MNIST = ["mnist_cnn", "mnist_mlp", "nielsen_mnist"]
needs_mnist = pytest.mark.skipif(
    "NNSTUDY_DATA_DIR" not in os.environ, reason="NNSTUDY_DATA_DIR does not say where MNIST is"
)


def mistaken(data: Data, mistake: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(8, 12), nn.ReLU(), MistakenLinear(12, 12, mistake), nn.Linear(12, data.outputs)
    )


@pytest.mark.parametrize(
    ("mistake", "tensor"),
    [
        ("wrong sign", "2.weight"),
        ("factor two", "2.weight"),
        ("wrong bias", "2.bias"),
        ("input stays", "0.weight"),
    ],
)
def test_a_wrong_backward_is_named_with_its_figures(mistake: str, tensor: str) -> None:
    result = only(CHECK, plain(TEN, network=partial(mistaken, mistake=mistake)))
    assert (result.check, result.kind, result.outcome) == ("gradient", "code", "failed")
    assert tensor in result.found
    assert "by backpropagation" in result.found
    assert "WrongLinear" in result.advice
    found = result.figures["tensors"][tensor]
    assert found["verdict"] == "failed"
    assert found["error"] == pytest.approx(
        abs(found["analytic"] - found["numerical"])
        / max(abs(found["analytic"]), abs(found["numerical"]))
    )
    json.dumps(result.figures, allow_nan=False)


def test_the_advice_names_the_last_tensor_that_is_wrong() -> None:
    result = only(CHECK, plain(TEN, network=partial(mistaken, mistake="input stays")))
    assert "backward pass of 0.bias or of what follows it" in result.advice


def test_a_gradient_that_is_no_number_is_found_and_can_be_written_as_json() -> None:
    result = only(CHECK, plain(TEN, network=partial(mistaken, mistake="not a number")))
    assert result.outcome == "failed"
    assert "2.weight at [0, 0]: nan by backpropagation" in result.found
    json.dumps(result.figures, allow_nan=False)


def test_one_percent_off_is_a_warning() -> None:
    result = only(CHECK, plain(TEN, network=partial(mistaken, mistake="one percent off")))
    assert result.outcome == "warned"
    assert "1 of 6 tensors disagree. 2.weight" in result.found


@pytest.mark.parametrize(
    "loss", [None, losses.BinaryCrossEntropy(), losses.MultiClassHinge(), nn.MultiMarginLoss()]
)
def test_right_networks_pass_with_every_loss(loss: Any) -> None:
    result = only(CHECK, plain(TEN, loss=loss, network=lambda data: deep(data)))
    assert result.outcome == "passed"
    assert result.advice == ""
    assert "tensors agree" in result.found


def deep(data: Data) -> nn.Module:
    return models.mlp(data.shape, [16, 16], data.outputs, dropout=0.5)


def test_regression_passes() -> None:
    assert only(CHECK, plain(line())).outcome == "passed"


def test_penalties_that_are_terms_of_the_loss_are_checked_apart() -> None:
    recipe = {"optimizer": torch.optim.LBFGS, "weight_decay": 1e-3, "l1": 2.0}
    of_data, of_penalty = CHECK.run(plain(TEN, **recipe))
    assert of_data.outcome == of_penalty.outcome == "passed"
    assert of_data.found.startswith("loss on the data")
    assert of_penalty.found.startswith("penalty")
    assert of_penalty.figures["has_kinks"]
    # Biases are not penalised.
    assert "zero all over: hidden1.bias, output.bias" in of_penalty.found


def test_a_detached_layer_is_a_warning_that_says_where_to_look() -> None:
    class Detached(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[1](self[0](x).detach())

    result = only(CHECK, plain(TEN, network=lambda _: Detached(nn.Linear(8, 8), nn.Linear(8, 10))))
    assert result.outcome == "warned"
    assert "detach()" in result.advice
    assert result.figures["without_gradient"] == ["0.weight", "0.bias"]


def test_a_loss_that_does_not_move_is_a_warning() -> None:
    result = only(CHECK, plain(TEN, loss=lambda output, target: 0 * output.sum()))
    assert result.outcome == "warned"
    assert "all derivatives are zero" in result.found


def test_a_network_that_needs_single_precision_is_skipped_with_the_reason() -> None:
    class Single(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.float())

    result = only(CHECK, plain(TEN, network=lambda _: Single(8, 10)))
    assert result.outcome == "skipped"
    assert "double precision" in result.found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "name",
    ["digits", "diabetes", "losses_digits", *(pytest.param(n, marks=needs_mnist) for n in MNIST)],
)
def test_no_false_alarm_on_shipped_studies(name: str, seed: int) -> None:
    for candidate in shipped(name, points=2, seed=seed):
        for result in CHECK.run(candidate):
            assert result.outcome == "passed", (candidate.params, result)
