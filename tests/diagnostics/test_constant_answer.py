from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from nnstudy import losses
from nnstudy.diagnostics.constant_answer import constant_answer_loss


def random_outputs(targets: Tensor, outputs: int) -> Tensor:
    return torch.randn(len(targets), outputs, generator=torch.Generator().manual_seed(0))


CLASSES = torch.arange(1000) % 10
SHARES = torch.tensor([0.5, 0.3, 0.2])
SKEWED = torch.repeat_interleave(torch.arange(3), torch.tensor([500, 300, 200]))
NUMBERS = torch.randn(1000, 2, generator=torch.Generator().manual_seed(1)) * 3 + 5


def test_cross_entropy_comes_to_the_entropy_of_the_classes() -> None:
    ten = constant_answer_loss(losses.cross_entropy, random_outputs(CLASSES, 10), CLASSES)
    assert ten == pytest.approx(math.log(10), rel=1e-4)
    entropy = -float((SHARES * SHARES.log()).sum())
    assert constant_answer_loss(
        losses.cross_entropy, random_outputs(SKEWED, 3), SKEWED
    ) == pytest.approx(entropy, rel=1e-4)


def test_binary_cross_entropy_comes_to_that_of_a_share_of_a_tenth_each() -> None:
    each = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    found = constant_answer_loss(losses.BinaryCrossEntropy(), random_outputs(CLASSES, 10), CLASSES)
    assert found == pytest.approx(10 * each, rel=1e-4)


def test_squared_error_comes_to_the_variance() -> None:
    found = constant_answer_loss(nn.functional.mse_loss, random_outputs(NUMBERS, 2), NUMBERS)
    variance = float(NUMBERS.var(0, correction=0).mean())
    assert found == pytest.approx(variance, rel=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_units_of_numbers_do_not_matter(scale: float) -> None:
    numbers = scale * NUMBERS
    found = constant_answer_loss(nn.functional.mse_loss, random_outputs(numbers, 2), numbers)
    assert found == pytest.approx(float(numbers.var(0, correction=0).mean()), rel=1e-4)


def test_no_constant_does_better_than_equal_scores_by_the_hinge() -> None:
    """Weston and Watkins: of classes that are equally frequent, k - 1 whatever is answered."""
    found = constant_answer_loss(losses.MultiClassHinge(), random_outputs(CLASSES, 10), CLASSES)
    assert found == pytest.approx(9.0, rel=1e-3)


def test_too_few_examples_would_be_learnt_by_heart() -> None:
    assert (
        constant_answer_loss(losses.cross_entropy, random_outputs(CLASSES[:99], 10), CLASSES[:99])
        is None
    )
    assert (
        constant_answer_loss(losses.cross_entropy, random_outputs(CLASSES[:100], 10), CLASSES[:100])
        is not None
    )


def test_parameters_of_a_loss_get_no_gradient() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return self.scale * nn.functional.cross_entropy(outputs, targets)

    loss = Weighted()
    assert constant_answer_loss(loss, random_outputs(CLASSES, 10), CLASSES) == pytest.approx(
        math.log(10), rel=1e-4
    )
    assert loss.scale.grad is None
