"""The loss before any learning is that of chance, and if not, it is said."""

from __future__ import annotations

import math
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnstudy import datasets, losses, models
from nnstudy.data import Data, Split, load
from nnstudy.preflight.checks.chance import CHECKS
from tests.preflight.checks.candidates import Squashed, candidate, clouds, line, only, plain

CHANCE, COMMONEST = CHECKS

TEN = clouds(classes=10)


def one_output(loss: Any) -> Any:
    return lambda output, target: loss(output.squeeze(1), target.float())


CLOSED_FORMS = {
    "cross-entropy": (None, math.log(10)),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), math.log(10)),
    "own lambda": (lambda o, t: -o.log_softmax(1)[range(len(t)), t].mean(), math.log(10)),
    "binary cross-entropy": (losses.BinaryCrossEntropy(), 10 * math.log(2)),
    "Weston-Watkins": (losses.MultiClassHinge(margin=2.0), 2 * 9),
    "PyTorch's hinge": (nn.MultiMarginLoss(), 9 / 10),
    "quadratic over sigmoids": (losses.Quadratic(activation="sigmoid"), 10 / 8),
    "quadratic": (losses.Quadratic(), 1 / 2),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_chance_is_that_of_the_closed_form(name: str) -> None:
    loss, expected = CLOSED_FORMS[name]
    result = only(CHANCE, plain(TEN, loss=loss))
    assert result.figures["chance"] == pytest.approx(expected, rel=1e-5)
    assert result.outcome == "passed"


@pytest.mark.parametrize(
    ("squash", "loss", "expected"),
    [
        (partial(torch.log_softmax, dim=1), nn.NLLLoss(), math.log(10)),
        (partial(torch.softmax, dim=1), losses.Quadratic(), (0.9**2 + 9 * 0.1**2) / 2),
        (torch.sigmoid, losses.Quadratic(), 10 / 8),
        (torch.tanh, losses.Quadratic(), 1 / 2),
    ],
    ids=["log-softmax", "softmax", "sigmoid", "tanh"],
)
def test_what_a_network_ends_in_does_not_matter(squash: Any, loss: Any, expected: float) -> None:
    result = only(CHANCE, plain(TEN, network=partial(Squashed, squash=squash), loss=loss))
    assert result.figures["chance"] == pytest.approx(expected, rel=1e-5)
    assert result.outcome == "passed"


def test_one_output_for_two_classes_starts_at_ln_2() -> None:
    data = clouds(classes=2)
    network = lambda data: nn.Linear(8, 1)  # noqa: E731
    for loss in (losses.BinaryCrossEntropy(), one_output(nn.BCEWithLogitsLoss())):
        result = only(CHANCE, plain(data, network=network, loss=loss))
        assert result.figures["chance"] == pytest.approx(math.log(2), rel=1e-5)
        assert "ln 2" in result.found


@pytest.mark.parametrize(
    ("loss", "factor"), [(None, 1.0), (losses.Quadratic(), 0.5)], ids=["mean", "half"]
)
def test_numbers_start_at_their_second_moment_about_the_initial_output(
    loss: Any, factor: float
) -> None:
    data = line(scale=100.0)
    shifted = nn.Linear(5, 1)
    nn.init.constant_(shifted.bias, 30.0)
    nn.init.zeros_(shifted.weight)
    result = only(CHANCE, plain(data, network=lambda _: deepcopy(shifted), loss=loss))
    # All of the training part is looked at: it has fewer examples than are drawn.
    expected = factor * (data.train.targets - 30.0).square().mean().item()
    assert result.figures["chance"] == pytest.approx(expected, rel=1e-4)
    assert result.outcome == "passed"


def normal(data: Data, activation: str = "sigmoid") -> nn.Module:
    network = models.mlp(data.shape, [100] * 3, data.outputs, activation=activation)
    return models.initialise(network, "normal", bias="normal")


@pytest.mark.parametrize(
    "loss",
    [None, losses.BinaryCrossEntropy(), losses.MultiClassHinge(), losses.Quadratic()],
    ids=["cross-entropy", "binary", "hinge", "quadratic"],
)
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("seed", range(2))
def test_weights_of_spread_one_start_far_above_chance(
    loss: Any, activation: str, seed: int
) -> None:
    result = only(CHANCE, plain(TEN, network=partial(normal, activation=activation), loss=loss))
    assert result.outcome == "failed"
    assert "initialiser" in result.advice
    assert result.kind == "configuration"


@pytest.mark.parametrize("initialiser", ["glorot_uniform", "he_normal", "orthogonal"])
@pytest.mark.parametrize("seed", range(3))
def test_the_usual_initialisers_pass(initialiser: str, seed: int) -> None:
    def network(data: Data) -> nn.Module:
        made = models.mlp(data.shape, [100, 100], data.outputs)
        return models.initialise(made, initialiser)

    assert only(CHANCE, plain(TEN, network=network, seed=seed)).outcome == "passed"


def test_a_loss_that_is_not_finite_before_any_learning_fails() -> None:
    network = partial(Squashed, squash=torch.log)
    assert only(CHANCE, plain(clouds(), network=network)).outcome in ("failed", "skipped")
    poisoned = nn.Linear(8, 3)
    nn.init.constant_(poisoned.bias, float("nan"))
    result = only(CHANCE, plain(clouds(), network=lambda _: deepcopy(poisoned)))
    assert result.outcome == "failed"
    assert "nan" in result.found


def test_weights_that_were_trained_before_are_told_of() -> None:
    data = clouds()
    trained = nn.Linear(8, 3)
    optimizer = torch.optim.Adam(trained.parameters(), lr=0.1)
    inputs, targets = next(data.train.minibatches(1000))
    for _ in range(200):
        optimizer.zero_grad()
        losses.cross_entropy(trained(inputs), targets).backward()
        optimizer.step()
    result = only(CHANCE, plain(data, network=lambda _: deepcopy(trained)))
    assert result.outcome == "told"
    assert "trained before" in result.found


def test_a_bias_that_knows_how_common_classes_are_is_no_surprise() -> None:
    targets = torch.cat([torch.zeros(270, dtype=torch.long), torch.ones(30, dtype=torch.long)])
    data = load(datasets.tensors(torch.randn(300, 4), targets))

    def network(data: Data) -> nn.Module:
        made = nn.Linear(4, 2)
        nn.init.normal_(made.weight, std=0.01)
        made.bias.data = torch.tensor([0.9, 0.1]).log()
        return made

    assert only(CHANCE, plain(data, network=network)).outcome == "passed"


def test_the_commonest_class_and_the_mean_are_told() -> None:
    targets = torch.tensor([0, 0, 0, 1] * 50)
    data = load(datasets.tensors(torch.randn(200, 4), targets), Split(seed=3))
    result = only(COMMONEST, plain(data))
    assert result.outcome == "told"
    share = (data.validation.targets == 0).double().mean().item()
    assert result.figures == {"classes": 2, "commonest": "0", "accuracy": share}
    numbers = line()
    expected = (numbers.train.targets.mean() - numbers.validation.targets).square().mean().item()
    assert only(COMMONEST, plain(numbers)).figures["loss"] == pytest.approx(expected)


def test_a_class_without_training_examples_is_warned_of() -> None:
    targets = torch.tensor([0] * 60 + [1] * 60 + [2] * 30)
    data = load(
        datasets.tensors(torch.randn(150, 4), targets, (torch.randn(9, 4), torch.arange(9) % 3)),
        Split(validation=30, shuffle=False),
    )
    result = only(COMMONEST, plain(data))
    assert result.outcome == "warned"
    assert "class 2" in result.found


def test_loss_tensors_and_random_state_are_left_alone() -> None:
    data = clouds()
    before: list[Tensor] = [data.train.targets.clone(), next(data.train.minibatches(400))[0]]
    point = candidate(lambda data: plain(data).recipe(), data)
    point.recipe()
    state = torch.get_rng_state()
    only(CHANCE, point)
    point.recipe()
    assert torch.equal(torch.get_rng_state(), state)
    after = [data.train.targets, next(data.train.minibatches(400))[0]]
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))
