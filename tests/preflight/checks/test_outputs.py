"""Outputs that do not fit their loss are named."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnstudy import losses, models
from nnstudy.data import Data
from nnstudy.errors import UserError
from nnstudy.preflight.checks.outputs import CHECK
from tests.preflight.checks.candidates import Squashed, clouds, line, only, plain

TEN, TWO, NUMBERS = clouds(classes=10), clouds(classes=2), line()


def behind(squash: Any) -> dict[str, Any]:
    return {"network": partial(Squashed, squash=squash)}


softmax = partial(torch.softmax, dim=1)
log_softmax = partial(torch.log_softmax, dim=1)


def one_hot(loss: Any) -> Any:
    return lambda output, target: loss(output, F.one_hot(target, 10).float())


def zero_head(data: Data) -> nn.Module:
    network = models.mlp(data.shape, [16], data.outputs)
    nn.init.zeros_(network[-1].weight)
    nn.init.zeros_(network[-1].bias)
    return network


FITTING: dict[str, tuple[Data, dict[str, Any]]] = {
    "cross-entropy": (TEN, {}),
    "smoothed": (TEN, {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)}),
    "zeros before any learning": (TEN, {"network": zero_head}),
    "binary cross-entropy": (TEN, {"loss": losses.BinaryCrossEntropy()}),
    "hinge": (TEN, {"loss": losses.MultiClassHinge()}),
    "log-probabilities": (TEN, {**behind(log_softmax), "loss": nn.NLLLoss()}),
    "probabilities": (TEN, {**behind(torch.sigmoid), "loss": one_hot(F.binary_cross_entropy)}),
    "one output": (TWO, {"network": lambda _: nn.Linear(8, 1), "loss": losses.BinaryCrossEntropy()}),
    "numbers": (NUMBERS, {}),
    "absolute errors": (NUMBERS, {"loss": nn.L1Loss()}),
    "flat outputs": (NUMBERS, behind(lambda outputs: outputs.squeeze(1))),
}  # fmt: skip


@pytest.mark.parametrize("name", FITTING)
def test_outputs_that_fit_pass(name: str) -> None:
    data, fields = FITTING[name]
    result = only(CHECK, plain(data, **fields))
    assert result.outcome == "passed", result.found
    assert result.kind == "code"


MISFITS: dict[str, tuple[Data, dict[str, Any], str]] = {
    "softmax twice": (TEN, behind(softmax), "softmax outputs cannot bring the loss below 63%"),
    "sigmoid before a softmax": (TEN, behind(torch.sigmoid), "between 0 and 1 cannot"),
    "tanh before a softmax": (TEN, behind(torch.tanh), "between -1 and 1 cannot"),
    "sigmoid twice": (
        TEN,
        {**behind(torch.sigmoid), "loss": losses.BinaryCrossEntropy()},
        "between 0 and 1 cannot",
    ),
    "softmax before a binary cross-entropy": (
        TEN,
        {**behind(softmax), "loss": losses.BinaryCrossEntropy()},
        "softmax outputs cannot",
    ),
    "no logarithm": (TEN, {"loss": nn.NLLLoss()}, "expects log-probabilities"),
    "probabilities as their logarithms": (
        TEN,
        {**behind(softmax), "loss": nn.NLLLoss()},
        "expects log-probabilities",
    ),
    "targets out of range": (line(scale=100.0), behind(torch.sigmoid), "between 0 and 1 cannot"),
    "negative targets": (NUMBERS, behind(torch.relu), "never negative cannot"),
    "each with each": (
        NUMBERS,
        {**behind(lambda outputs: outputs.squeeze(1)), "loss": F.mse_loss},
        "another one when they are given equal shapes",
    ),
    "mean over the minibatch": (
        TEN,
        {**behind(lambda outputs: outputs.mean(0, keepdim=True)), "loss": lambda o, t: o.sum()},
        r"outputs of shape \(1, 10\)",
    ),
}


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("name", MISFITS)
@pytest.mark.parametrize("seed", range(2))
def test_outputs_that_cannot_fit_are_named(name: str, seed: int) -> None:
    data, fields, said = MISFITS[name]
    result = only(CHECK, plain(data, seed=seed, **fields))
    assert result.outcome == "failed", result.found
    assert re.search(said, result.found), result.found
    assert result.advice


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"loss": losses.Quadratic(activation="sigmoid")}, "surely wrong answer"),
        ({"loss": losses.Quadratic(activation="softmax")}, "surely wrong answer"),
        ({**behind(torch.sigmoid), "loss": losses.Quadratic()}, "surely wrong answer"),
        ({**behind(softmax), "loss": one_hot(F.mse_loss)}, "surely wrong answer"),
        (behind(torch.relu), "no output is ever negative"),
        ({"loss": nn.CrossEntropyLoss(reduction="sum")}, "twice as large"),
    ],
    ids=["sigmoid in", "softmax in", "sigmoid before", "softmax before", "relu", "sum"],
)
def test_what_learns_slowly_or_depends_on_the_minibatch_is_warned_of(
    fields: dict[str, Any], said: str
) -> None:
    result = only(CHECK, plain(TEN, **fields))
    assert result.outcome == "warned"
    assert said in result.found
    assert result.advice


def test_the_gradient_of_a_surely_wrong_sigmoid_is_that_of_the_formula() -> None:
    result = only(CHECK, plain(TEN, loss=losses.Quadratic(activation="sigmoid")))
    a = torch.sigmoid(torch.tensor(10.0, dtype=torch.float64))
    # (a - y) a (1 - a) at 10 over the same at 0.
    assert f"{(a * a * (1 - a) / 0.125).item():.1e}" in result.found


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (behind(log_softmax), "changes nothing"),
        ({"network": lambda _: nn.Linear(8, 12)}, "12 outputs for 10 classes"),
    ],
    ids=["log-softmax twice", "too many outputs"],
)
def test_what_does_no_harm_is_told(fields: dict[str, Any], said: str) -> None:
    passed, told = CHECK.run(plain(TEN, **fields))
    assert (passed.outcome, told.outcome) == ("passed", "told")
    assert said in told.found


def test_outputs_that_only_their_own_loss_knows_are_left_to_it() -> None:
    class Two(nn.Linear):
        def forward(self, inputs: Tensor) -> Any:
            return super().forward(inputs), inputs

    fields = {"network": lambda _: Two(8, 10), "loss": lambda o, t: F.cross_entropy(o[0], t)}
    with pytest.raises(UserError, match="returns tuple, which only its own loss can read"):
        CHECK.run(plain(TEN, **fields))
