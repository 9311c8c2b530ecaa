"""The check leaves everything as it was, tells what it left out, and refuses what it cannot do."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnstudy import gradient_check
from nnstudy.diagnostics.gradient.bands import bands
from nnstudy.errors import UserError
from tests.diagnostics.wrong_backwards import MistakenLinear

INPUTS = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
LABELS = torch.randint(0, 4, (8,), generator=torch.Generator().manual_seed(2))
BATCH = (INPUTS, LABELS)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, 4)
    )


def random_numbers() -> list[float]:
    return [random.random(), float(np.random.random()), float(torch.rand(()))]


@pytest.mark.parametrize("fails", [False, True])
def test_model_and_random_states_stay_as_they_were(fails: bool) -> None:
    model = network()
    model[1].eval()
    F.cross_entropy(model(INPUTS), LABELS).backward()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    modes = [module.training for module in model.modules()]
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = random_numbers()

    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    if fails:
        with pytest.raises(UserError):
            gradient_check(model, F.cross_entropy, (INPUTS[:, :2], LABELS))
    else:
        gradient_check(model, F.cross_entropy, BATCH)
    assert random_numbers() == expected
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name]), name
    kept = [p.grad for p in model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(kept, gradients, strict=True))
    assert [module.training for module in model.modules()] == modes


def test_the_same_seed_gives_the_same_figures() -> None:
    first, second, other = (
        gradient_check(network(), F.cross_entropy, BATCH, seed=seed) for seed in (1, 1, 2)
    )
    assert first == second
    assert first.tensors != other.tensors


def test_frozen_tensors_are_left_out_and_named() -> None:
    model = network()
    model[0].requires_grad_(False)
    check = gradient_check(model, F.cross_entropy, BATCH)
    assert check.frozen == ("0.weight", "0.bias")
    assert not any(tensor.name.startswith("0.") for tensor in check.tensors)
    assert "frozen: 0.weight, 0.bias" in str(check)


def test_tensors_that_backpropagation_does_not_reach_are_named() -> None:
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused, self.cut, self.output = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.output(self.cut(x).detach())

    check = gradient_check(Detached(), F.cross_entropy, BATCH)
    assert check.without_gradient == ("unused.weight", "unused.bias", "cut.weight", "cut.bias")
    # The loss depends on some of them all the same.
    assert {tensor.name for tensor in check.of("uncomfortable")} == {"cut.weight", "cut.bias"}
    assert not check.of("failed")


def test_shared_parameters_are_checked_once() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 4))
    model[2].weight = model[0].weight
    check = gradient_check(model, F.cross_entropy, BATCH)
    assert [tensor.name for tensor in check.tensors].count("0.weight") == 1
    assert "2.weight" not in [tensor.name for tensor in check.tensors]
    assert check.verdict == "passed"


def test_few_examples_are_used_unless_all_are_asked_for() -> None:
    seen: list[int] = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        seen.append(len(output))
        return F.cross_entropy(output, target)

    gradient_check(network(), loss, BATCH)
    assert set(seen) == {3}
    seen.clear()
    gradient_check(network(), loss, BATCH, examples=None)
    assert set(seen) == {8}


def test_each_tensor_has_the_coordinates_asked_for_or_as_many_as_it_has() -> None:
    check = gradient_check(network(), F.cross_entropy, BATCH, coordinates=7)
    counts = {tensor.name: tensor.coordinates + tensor.kinks for tensor in check.tensors}
    assert counts.pop("4.bias") == 4
    assert all(count >= 7 for count in counts.values())


def test_sixty_tensors_take_twelve_evaluations_each() -> None:
    torch.manual_seed(0)
    layers = [layer for _ in range(29) for layer in (nn.Linear(6, 6), nn.Tanh())]
    check = gradient_check(nn.Sequential(*layers, nn.Linear(6, 4)), F.cross_entropy, BATCH)
    assert len(check.tensors) == 60
    assert check.evaluations <= 12 * 60 + 30  # those of the burn-in and of the noise
    assert check.verdict == "passed"


def slow(output: Tensor, target: Tensor) -> Tensor:
    time.sleep(0.02)
    return F.cross_entropy(output, target)


def test_slow_networks_get_fewer_coordinates() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))
    evaluations_of_each = 6
    assert gradient_check(model, F.cross_entropy, BATCH, seconds=math.inf).verdict == "passed"
    seconds = 0.02 * evaluations_of_each * 4
    check = gradient_check(model, slow, BATCH, seconds=seconds, burn_in_steps=1)
    assert all(tensor.coordinates <= 2 for tensor in check.tensors)
    assert check.verdict == "passed"


@pytest.mark.parametrize("mistake", ["none", "wrong sign", "one percent off", "wrong bias"])
def test_very_slow_networks_are_moved_at_once_and_told_apart_if_that_disagrees(
    mistake: str,
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 12), nn.Tanh(), MistakenLinear(12, 12, mistake), nn.Linear(12, 4)
    )
    check = gradient_check(model, F.cross_entropy, BATCH, seconds=1e-9)
    assert all(tensor.coordinates == 0 for tensor in check.tensors)
    suspects = {tensor.name for tensor in check.tensors if tensor.verdict != "passed"}
    expected = {"none": set(), "wrong bias": {"2.bias"}}.get(mistake, {"2.weight"})
    assert suspects == expected
    assert check.together == (mistake == "none")
    assert ("moved at once" in str(check)) == check.together
    assert check.evaluations < 80


def test_the_burn_in_lowers_the_loss_but_not_to_nothing() -> None:
    values: list[float] = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        value = F.multi_margin_loss(output, target)
        values.append(float(value.detach()))
        return value

    gradient_check(nn.Linear(6, 4), loss, BATCH, burn_in_steps=40)
    assert 0.4 * values[0] < values[-1] < 0.8 * values[0]  # the last ones are beside the point


@pytest.mark.parametrize(
    ("layers", "has_kinks", "error", "band"),
    [
        (2, False, 1e-7, "happy"),
        (2, False, 1e-4, "uncomfortable"),
        (2, True, 1e-4, "fine"),
        (2, True, 1e-3, "uncomfortable"),
        (2, False, 2e-2, "wrong"),
        (2, True, 2e-2, "wrong"),
        (10, False, 1e-2, "uncomfortable"),
        (10, True, 0.5, "wrong"),
        (1, True, float("nan"), "wrong"),
    ],
)
def test_bands_are_those_of_the_notes(
    layers: int, has_kinks: bool, error: float, band: str
) -> None:
    assert bands(layers, has_kinks).of(error) == band


class Stubborn(nn.Module):
    """One linear layer, and something done to its outputs."""

    def __init__(self, then: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)
        self.then = then

    def forward(self, x: Tensor) -> Tensor:
        return self.then(self.layer(x))


def counting() -> Callable[[Tensor], Tensor]:
    calls: list[None] = []

    def multiply(x: Tensor) -> Tensor:
        calls.append(None)
        return x * len(calls)

    return multiply


class NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        raise ArithmeticError("not today")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Stubborn(lambda x: x @ torch.ones(4, 4)), "double precision cannot be evaluated"),
        (Stubborn(lambda x: x.float()), "loss of the copy in double precision is torch.float32"),
        (Stubborn(lambda x: x.float().softmax(1).double()), "converts to single precision"),
        (Stubborn(counting()), "differs from one evaluation to the next"),
        (Stubborn(lambda x: x.detach()), "does not depend on any trainable parameter"),
        (Stubborn(lambda x: x * torch.inf), "the loss is nan"),
        (Stubborn(NoBackward.apply), "backward pass .* ArithmeticError: not today"),
        (nn.LazyLinear(4), "lazy layers"),
        (nn.Tanh(), "no trainable parameters"),
        (nn.Linear(6, 4, dtype=torch.complex64), "complex"),
    ],
)
def test_models_that_cannot_be_checked_are_refused(model: nn.Module, said: str) -> None:
    with pytest.raises(UserError, match=said):
        gradient_check(model, F.cross_entropy, BATCH)


def test_batch_norm_needs_two_examples() -> None:
    with pytest.raises(UserError, match="batch norm needs two examples or more"):
        gradient_check(network(), F.cross_entropy, BATCH, examples=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"batch": INPUTS}, r"batch must be \(inputs, targets\)"),
        ({"batch": (INPUTS, LABELS[:3])}, "8 inputs and 3 targets"),
        ({"batch": (INPUTS[:0], LABELS[:0])}, "0 inputs"),
        ({"examples": 0}, "examples must be at least 1, got 0"),
        ({"coordinates": 0}, "coordinates must be at least 1, got 0"),
        ({"seconds": 0.0}, "seconds must be above 0, got 0.0"),
        ({"burn_in_steps": -1}, "burn_in_steps must be at least 0, got -1"),
        ({"loss": nn.CrossEntropyLoss(reduction="none")}, r"must be one number, got shape \(3,\)"),
        ({"loss": lambda output, target: 3.0}, "must be one number, got float"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], said: str) -> None:
    given = {"model": network(), "loss": F.cross_entropy, "batch": BATCH, **arguments}
    with pytest.raises(UserError, match=said):
        gradient_check(**given)
