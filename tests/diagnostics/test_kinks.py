"""Which operators have kinks, and that crossing one is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnstudy import gradient_check
from nnstudy.diagnostics.gradient.kinks import Winners

# Each with a point at which it has a kink.
KINKED: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "relu": (F.relu, 0),
    "relu in place": (lambda x: F.relu(x.clone(), inplace=True), 0),
    "leaky relu": (F.leaky_relu, 0),
    "prelu": (lambda x: F.prelu(x, torch.tensor([0.25], dtype=x.dtype)), 0),
    "rrelu": (F.rrelu, 0),
    "elu": (lambda x: F.elu(x, alpha=2.0), 0),
    "selu": (F.selu, 0),
    "relu6": (F.relu6, 6),
    "hardtanh": (F.hardtanh, -1),
    "hardsigmoid": (F.hardsigmoid, 3),
    "hardswish": (F.hardswish, -3),
    "softshrink": (F.softshrink, 0.5),
    "hardshrink": (F.hardshrink, 0.5),
    "threshold": (lambda x: F.threshold(x, 0.3, 0.0), 0.3),
    "clamp": (lambda x: x.clamp(-2, 0.7), 0.7),
    "clamp below": (lambda x: x.clamp(min=0.7), 0.7),
    "clamp_min": (lambda x: x.clamp_min(0.7), 0.7),
    "clamp_max": (lambda x: torch.clamp_max(x, 0.7), 0.7),
    "clamp between tensors": (lambda x: x.clamp(torch.zeros_like(x), torch.ones_like(x)), 1),
    "abs": (torch.abs, 0),
    "maximum": (lambda x: torch.maximum(x, 1 - x), 0.5),
    "minimum": (lambda x: torch.minimum(x, 1 - x), 0.5),
    "max": (lambda x: torch.cat([x, 1 - x]).max(), 0.5),
    "max along": (lambda x: torch.stack([x, 1 - x]).max(0).values, 0.5),
    "amax": (lambda x: torch.stack([x, 1 - x]).amax(0), 0.5),
    "amin": (lambda x: torch.stack([x, 1 - x]).amin(dim=(0,), keepdim=True), 0.5),
    "sort": (lambda x: torch.cat([x, 1 - x]).sort().values[0], 0.5),
    "topk": (lambda x: torch.cat([x, 1 - x]).topk(1).values, 0.5),
    "median": (lambda x: torch.cat([x, 1 - x, x - 9]).median(), 0.5),
    "pool 1d": (lambda x: F.max_pool1d(torch.stack([x, 1 - x], -1), 2), 0.5),
    "pool 2d": (lambda x: F.max_pool2d(torch.stack([x, 1 - x], -1).view(1, 1, 1, 2), (1, 2)), 0.5),
    "adaptive pool": (
        lambda x: F.adaptive_max_pool2d(torch.stack([x, 1 - x], -1).view(1, 1, 1, 2), 1),
        0.5,
    ),
    "where": (lambda x: torch.where(x > 0.2, x, -x), 0.2),
    "mask": (lambda x: x * (x > 0), 0),
    "round": (torch.round, 0.5),
    "sign": (torch.sign, 0),
    "l1": (lambda x: F.l1_loss(x, torch.ones_like(x)), 1),
    "smooth l1": (lambda x: F.smooth_l1_loss(x, torch.zeros_like(x)), 1),
    "huber": (lambda x: F.huber_loss(x, torch.zeros_like(x), delta=2.0), 2),
    "hinge embedding": (lambda x: F.hinge_embedding_loss(x, -torch.ones_like(x)), 1),
    "margin ranking": (lambda x: F.margin_ranking_loss(x, -x, torch.ones_like(x)), 0),
    "multi-margin": (
        lambda x: F.multi_margin_loss(torch.stack([x, 0 * x], 1), torch.tensor([0])),
        1,
    ),
    "multi-label margin": (
        lambda x: F.multilabel_margin_loss(torch.stack([x, 0 * x], 1), torch.tensor([[0, -1]])),
        1,
    ),
}


def watched(function: Callable[[Tensor], Tensor], at: float) -> Winners:
    winners = Winners()
    x = torch.tensor([at], dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    with winners:
        function(x)
    return winners


@pytest.mark.parametrize("name", KINKED)
def test_a_crossed_kink_is_seen_and_one_nearby_is_not(name: str) -> None:
    function, at = KINKED[name]
    assert not watched(function, at - 1e-6).agree(watched(function, at + 1e-6))
    for beside in (at - 2e-6, at + 2e-6):
        assert watched(function, beside - 1e-6).agree(watched(function, beside + 1e-6))


@pytest.mark.parametrize(
    "function",
    [torch.tanh, torch.sigmoid, F.gelu, F.silu, F.softplus, lambda x: torch.softmax(x, 0)],
)
def test_smooth_functions_make_no_decisions(function: Callable[[Tensor], Tensor]) -> None:
    assert not watched(function, 0.0).decisions


class Product(nn.Module):
    """One weight, and what becomes of its product with the input."""

    def __init__(self, weight: float, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight], dtype=torch.float64))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x @ self.weight.view(1, 1))


class OutOfSight(torch.autograd.Function):
    """A ReLU that PyTorch does not see, as in a kernel of one's own; right but for its kink."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.from_numpy(x.detach().numpy().clip(0))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * (ctx.saved_tensors[0] > 0)


@pytest.fixture
def _no_nudge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a check take place exactly where the weight is."""
    monkeypatch.setattr("nnstudy.diagnostics.gradient.check.nudge", lambda *_: None)


@pytest.mark.usefixtures("_no_nudge")
@pytest.mark.parametrize("distance", [-1e-7, 1e-7])
@pytest.mark.parametrize("function", [F.relu, torch.abs, OutOfSight.apply])
def test_a_weight_next_to_a_kink_is_left_out(
    function: Callable[[Tensor], Tensor], distance: float
) -> None:
    batch = torch.ones(2, 1), torch.full((2, 1), 3.0)
    check = gradient_check(Product(distance, function), F.mse_loss, batch, burn_in_steps=0)
    (tensor,) = check.tensors
    assert (tensor.kinks, tensor.coordinates) == (1, 0)
    assert tensor.verdict == check.verdict == "uncomfortable"
    assert "?" in str(check)


@pytest.mark.usefixtures("_no_nudge")
@pytest.mark.parametrize("function", [F.relu, OutOfSight.apply])
def test_a_smaller_step_avoids_a_kink_that_is_not_as_near(
    function: Callable[[Tensor], Tensor],
) -> None:
    batch = torch.ones(2, 1), torch.full((2, 1), 3.0)
    check = gradient_check(Product(3e-6, function), F.mse_loss, batch, burn_in_steps=0)
    (tensor,) = check.tensors
    assert tensor.worst is not None
    assert tensor.worst.h == 1e-6
    assert tensor.worst.numerical == pytest.approx(-6, rel=1e-5)
    assert check.verdict == "passed"
