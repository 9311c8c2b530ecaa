from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nnstudy.errors import UserError
from nnstudy.training import losses

LOSSES = {
    "cross_entropy": losses.cross_entropy,
    "binary_cross_entropy": losses.BinaryCrossEntropy(),
    "quadratic": losses.Quadratic("sigmoid"),
    "hinge": losses.MultiClassHinge(),
}


def minibatch(examples: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    output = 3 * torch.randn(examples, classes, generator=generator, dtype=torch.float64)
    return output, torch.randint(classes, (examples,), generator=generator)


def mean_by_hand(name: str, output: Tensor, target: Tensor) -> float:
    """The formulas, one number at a time."""
    total = 0.0
    for scores, right in zip(output.tolist(), target.tolist(), strict=True):
        sigmoids = [1 / (1 + math.exp(-score)) for score in scores]
        for j, (score, a) in enumerate(zip(scores, sigmoids, strict=True)):
            y = float(j == right)
            if name == "cross_entropy" and j == right:
                total -= score - math.log(sum(math.exp(other) for other in scores))
            elif name == "binary_cross_entropy":
                total -= y * math.log(a) + (1 - y) * math.log(1 - a)
            elif name == "quadratic":
                total += (a - y) ** 2 / 2
            elif name == "hinge" and j != right:
                total += max(0.0, score - scores[right] + 1)
    return total / len(output)


@given(
    name=st.sampled_from(sorted(LOSSES)),
    examples=st.integers(1, 6),
    classes=st.integers(2, 5),
    seed=st.integers(0, 1000),
)
def test_a_loss_is_the_mean_of_its_formula(
    name: str, examples: int, classes: int, seed: int
) -> None:
    output, target = minibatch(examples, classes, seed)
    wanted = mean_by_hand(name, output, target)
    assert float(LOSSES[name](output, target)) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("cross_entropy", math.log(10)),
        ("binary_cross_entropy", 10 * math.log(2)),
        ("quadratic", 10 / 8),
        ("hinge", 9.0),
    ],
)
def test_a_loss_at_chance_is_the_known_one(name: str, wanted: float) -> None:
    output, target = torch.zeros(4, 10), torch.arange(4)
    assert float(LOSSES[name](output, target)) == pytest.approx(wanted)


def test_the_gradient_of_binary_cross_entropy_is_the_error() -> None:
    """Nielsen, chapter 3: what makes saturated units learn."""
    output, target = minibatch(5, 4, 0)
    output.requires_grad_()
    losses.BinaryCrossEntropy()(output, target).backward()
    error = torch.sigmoid(output.detach()) - nn.functional.one_hot(target, 4)
    torch.testing.assert_close(output.grad, error / 5)


def test_binary_cross_entropy_takes_one_output_for_two_classes_and_several_labels() -> None:
    loss = losses.BinaryCrossEntropy()
    single = loss(torch.tensor([[2.0], [-1.0]]), torch.tensor([1, 0]))
    wanted = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    assert float(single) == pytest.approx(wanted)
    several = loss(torch.zeros(1, 3), torch.tensor([[1.0, 1.0, 0.0]]))
    assert float(several) == pytest.approx(3 * math.log(2))


@pytest.mark.parametrize("activation", [None, "sigmoid", "tanh", "softmax"])
def test_quadratic_is_half_the_squared_distance_after_the_activation(
    activation: str | None,
) -> None:
    output, target = minibatch(3, 4, 1)
    activated = output
    if activation is not None:
        activated = {
            "sigmoid": output.sigmoid(),
            "tanh": output.tanh(),
            "softmax": output.softmax(1),
        }[activation]
    distance = (activated - nn.functional.one_hot(target, 4)).norm(dim=1)
    wanted = (distance**2 / 2).mean()
    torch.testing.assert_close(losses.Quadratic(activation)(output, target), wanted)


def test_quadratic_and_mean_squared_error_take_numbers_of_either_shape() -> None:
    output, target = torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 1.0])
    assert float(losses.Quadratic()(output, target)) == pytest.approx((0.5 + 2.0) / 2)
    assert float(losses.mean_squared_error(output, target)) == pytest.approx(2.5)
    assert float(losses.mean_squared_error(output[:, 0], target)) == pytest.approx(2.5)
    assert float(losses.mean_squared_error(output, target[:, None].double())) == 2.5


def test_hinge_takes_another_margin() -> None:
    output, target = torch.tensor([[1.0, 0.5, 4.0]]), torch.tensor([0])
    assert float(losses.MultiClassHinge(margin=2.0)(output, target)) == pytest.approx(1.5 + 5.0)


def test_label_smoothing_is_pytorchs() -> None:
    output, target = minibatch(4, 5, 2)
    smoothed = nn.functional.one_hot(target, 5) * 0.9 + 0.1 / 5
    wanted = -(smoothed * output.log_softmax(1)).sum(1).mean()
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    torch.testing.assert_close(loss(output, target), wanted)


def test_outputs_that_do_not_fit_the_numbers_are_refused() -> None:
    with pytest.raises(UserError, match=r"shape \(4, 3\) do not fit targets of shape \(4,\)"):
        losses.mean_squared_error(torch.zeros(4, 3), torch.zeros(4))


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(UserError, match=r"one of sigmoid, tanh, softmax, got 'relu'"):
        losses.Quadratic("relu")
