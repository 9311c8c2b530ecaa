"""Verdicts on real trainings on handwritten digits, each set up to show one thing."""

from __future__ import annotations

import math
import os
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from nnstudy import Recipe, Split, Training, datasets, models
from nnstudy.data import Data, Subset, load
from nnstudy.diagnostics import (
    ActivationMonitor,
    LossWiggle,
    UpdateRatioMonitor,
    first_layer_noise,
)
from nnstudy.diagnostics.verdicts import Course, judge
from nnstudy.training import Diverged
from nnstudy.training.seeds import seed_everything

pytestmark = pytest.mark.slow

SGD = partial(torch.optim.SGD, momentum=0.9)


@pytest.fixture(scope="module")
def digits() -> Data:
    return load(datasets.digits, Split(selection=0.0), Subset(examples=400, valid_examples=200))


def judged(
    data: Data,
    lr: float,
    *,
    widths: tuple[int, ...] = (64,),
    activation: str = "relu",
    epochs: float = 12,
    validate_every: int | None = None,
    initial: str | None = None,
    **fields: Any,
) -> list[str]:
    """Trains a perceptron with all monitors, and returns the names of the verdicts on it."""
    seed_everything(1)
    network: nn.Module = models.mlp(data.shape, widths, data.outputs, activation)
    if initial:
        models.initialise(network, initial, bias="normal" if initial == "normal" else "zeros")
    losses: list[float] = []

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        value = F.cross_entropy(outputs, targets)
        if torch.is_grad_enabled():
            losses.append(value.item())
        return value

    recipe = Recipe(network=network, optimizer=partial(SGD, lr=lr), loss=loss, **fields)
    training = Training(recipe, data, epochs=epochs, seed=1, validate_every=validate_every)
    updates = UpdateRatioMonitor(network, training.optimizer, every=1)
    activations = ActivationMonitor(network)
    history, ended = [], "epochs"
    try:
        for record in training:
            wiggle = LossWiggle()
            wiggle.add(losses)
            losses.clear()
            values = {**record.values, **updates.values(), **activations.values()}
            history.append({**values, "wiggle/loss": wiggle.value or 0.0, "epoch": record.epoch})
    except Diverged:
        ended = "diverged"
    course = Course(
        history,
        ended=ended,
        classes=10,
        chance_loss=math.log(10),
        steps_per_epoch=training.budget.steps.per_epoch,
        decay_per_step=lr * (recipe.weight_decay or recipe.l2 / len(data.train)),
        first_layer_noise=first_layer_noise(network, data.shape),
    )
    return [verdict.name for verdict in judge(course)]


RATES = {"learning rate too high", "learning rate too low", "learning rate about right"}


def test_a_good_rate_is_about_right(digits: Data) -> None:
    assert RATES & set(judged(digits, 0.05)) == {"learning rate about right"}


def test_a_rate_that_is_a_thousand_times_smaller_is_too_low(digits: Data) -> None:
    assert RATES & set(judged(digits, 3e-5)) == {"learning rate too low"}


def test_a_rate_that_is_a_hundred_times_larger_is_too_high_and_kills_units(digits: Data) -> None:
    names = judged(digits, 3.0)
    assert names[0] == "learning rate too high"
    assert {"at chance", "dead units"} <= set(names)


def test_rates_are_judged_alike_where_validations_are_frequent(digits: Data) -> None:
    for lr, expected in ((0.05, "about right"), (3e-5, "too low"), (3.0, "too high")):
        names = judged(digits, lr, validate_every=200)
        assert RATES & set(names) == {f"learning rate {expected}"}


def test_an_enormous_penalty_makes_it_diverge(digits: Data) -> None:
    assert judged(digits, 10.0, weight_decay=1.0) == ["diverged"]


def test_a_strong_penalty_keeps_it_at_chance(digits: Data) -> None:
    assert "at chance" in judged(digits, 0.03, weight_decay=10.0)


def test_large_initial_weights_of_a_deep_sigmoid_network_are_bad_and_saturate(digits: Data) -> None:
    names = judged(digits, 0.03, widths=(50, 50, 50), activation="sigmoid", initial="normal")
    assert "bad initialisation" in names
    assert "bad initialisation" not in judged(
        digits, 0.03, widths=(50, 50, 50), activation="sigmoid", initial="glorot_uniform"
    )


def test_two_hidden_units_underfit(digits: Data) -> None:
    names = judged(digits, 0.01, widths=(2,), epochs=40)
    assert "underfitting" in names
    assert "underfitting" not in judged(digits, 0.01, epochs=40)


def test_labels_that_are_often_wrong_are_learned_by_heart() -> None:
    digits = load_digits()
    generator = torch.Generator().manual_seed(0)
    targets = torch.from_numpy(digits.target)
    wrong = torch.rand(len(targets), generator=generator) < 0.3
    targets[wrong] = torch.randint(0, 10, (int(wrong.sum()),), generator=generator)
    images = torch.from_numpy(digits.images).float()[:, None]
    noisy = datasets.tensors(images, targets, name="noisy")
    data = load(noisy, Split(selection=0.0), Subset(examples=200, valid_examples=200))
    assert "overfitting" in judged(data, 0.02, widths=(128,), epochs=30)


def test_single_examples_make_noisy_minibatches(digits: Data) -> None:
    assert "minibatch too noisy" in judged(digits, 0.003, batch_size=1, epochs=3)
    assert "minibatch too noisy" not in judged(digits, 0.03, batch_size=64)


def test_a_training_that_is_cut_short_still_improves(digits: Data) -> None:
    assert "still improving when stopped" in judged(digits, 0.003, epochs=8)
    assert "still improving when stopped" not in judged(digits, 0.03, epochs=40)


def test_a_first_layer_that_has_hardly_moved_is_noisy(digits: Data) -> None:
    assert "noisy first layer" in judged(digits, 1e-3, epochs=6)


@pytest.mark.parametrize(("examples", "epochs"), [(1000, 1), (50_000, 0.1)])
def test_the_geoscientists_start_explodes_with_few_examples_and_learns_nothing_with_many(
    examples: int, epochs: float
) -> None:
    if "NNSTUDY_DATA_DIR" not in os.environ:
        pytest.skip("MNIST is not here: set NNSTUDY_DATA_DIR to the folder that has it")
    mnist = load(
        datasets.mnist,
        Split(validation=10_000, selection=0.0),
        Subset(examples=examples, valid_examples=1000),
    )
    names = judged(
        mnist, 10.0, widths=(30,), activation="sigmoid", l2=1000.0, batch_size=10, epochs=epochs
    )
    if examples == 1000:
        assert names == ["diverged"]
    else:
        assert "at chance" in names
