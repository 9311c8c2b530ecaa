from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, Optimizer

from nnstudy.diagnostics import RangeTest, find_interval, learning_rate_range_test
from nnstudy.errors import UserError


class Noisy:
    """Minibatches of a linear problem whose curvature is the same in each of them.

    Half of the inputs lie on the first axis and half on the second; for half the mean squared
    error the curvatures are ``curvature`` and a tenth of it. Only the targets are noisy.
    """

    def __init__(self, curvature: float, seed: int = 0) -> None:
        self.inputs = torch.zeros(64, 2)
        self.inputs[:32, 0] = math.sqrt(2 * curvature)
        self.inputs[32:, 1] = math.sqrt(2 * curvature / 10)
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        clean = self.inputs.sum(1, keepdim=True)
        noise = torch.randn(10, 64, 1, generator=self.generator)
        return iter([(self.inputs, clean + 0.03 * each * clean.norm() / 8) for each in noise])


def bowl() -> nn.Module:
    network = nn.Linear(2, 1, bias=False)
    nn.init.constant_(network.weight, -1.0)
    return network


def half_squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return 0.5 * nn.functional.mse_loss(outputs, targets)


def digits_like() -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """Three classes that can be told from one another, in minibatches of 32."""
    torch.manual_seed(0)
    targets = torch.arange(320) % 3
    inputs = torch.randn(320, 8) + 2 * torch.eye(8)[targets]
    network = nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)
    )
    return network, list(zip(inputs.split(32), targets.split(32), strict=True))


cross_entropy = nn.functional.cross_entropy


@pytest.mark.parametrize("curvature", [0.5, 5.0, 50.0])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_on_a_bowl_the_loss_stops_falling_where_gradient_descent_diverges(
    curvature: float, momentum: float
) -> None:
    """At 2/L, and at 2(1 + m)/L with momentum m (Polyak 1964)."""
    network = bowl()
    optimizer = SGD(network.parameters(), lr=1.0, momentum=momentum)
    test = learning_rate_range_test(
        network, optimizer, half_squared, Noisy(curvature), low=1e-4, high=100.0
    )
    diverges = 2 * (1 + momentum) / curvature
    assert test.exploded
    assert diverges < test.rates[-1] < 2 * diverges
    interval = find_interval(test)
    assert interval is not None
    assert 0.45 * diverges < interval.high < 1.2 * diverges
    assert interval.low <= interval.steepest < interval.high
    assert not interval.falls_on


def test_rates_grow_exponentially_from_low_to_high() -> None:
    network, minibatches = digits_like()
    test = learning_rate_range_test(
        network, SGD(network.parameters(), 1), cross_entropy, minibatches, low=1e-6, high=1e-3,
        steps=4,
    )  # fmt: skip
    assert test.rates == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3])
    assert len(test.losses) == 4
    assert not test.exploded


def test_losses_are_those_of_a_loop_by_hand() -> None:
    network, minibatches = digits_like()
    network[3].p = 0.0
    optimizer = partial(SGD, momentum=0.9)
    test = learning_rate_range_test(
        network, optimizer(network.parameters(), lr=1), cross_entropy, minibatches, low=1e-3,
        high=0.1, steps=15,
    )  # fmt: skip
    by_hand = []
    network.train()
    stepping = optimizer(network.parameters(), lr=1)
    for step, rate in enumerate(test.rates):
        # 500 examples before any step are 20 minibatches of ten: two rounds.
        inputs, targets = minibatches[step % 10]
        stepping.param_groups[0]["lr"] = rate
        stepping.zero_grad()
        loss = cross_entropy(network(inputs), targets)
        by_hand.append(loss.item())
        loss.backward()
        stepping.step()
    assert test.losses == pytest.approx(by_hand, rel=1e-6)


def gradient(network: nn.Module, optimizer: Optimizer, inputs: Tensor, targets: Tensor) -> Tensor:
    optimizer.zero_grad()
    loss = cross_entropy(network(inputs), targets)
    loss.backward()
    return loss


@pytest.mark.parametrize(
    "make",
    [
        partial(SGD, lr=0.1, momentum=0.9),
        partial(Adam, lr=0.01, weight_decay=0.1),
        partial(LBFGS, lr=0.5, max_iter=3),
    ],
    ids=["momentum", "adam", "lbfgs"],
)
def test_training_goes_on_as_if_there_had_been_no_test(make: partial[Optimizer]) -> None:
    weights = []
    for tested in (False, True):
        network, minibatches = digits_like()
        network[1].eval()
        optimizer = make(network.parameters())
        for number, (inputs, targets) in enumerate(minibatches):
            optimizer.step(partial(gradient, network, optimizer, inputs, targets))
            if tested and number == 4:
                learning_rate_range_test(network, optimizer, cross_entropy, minibatches, steps=30)
        assert network.training
        assert not network[1].training
        weights.append(network.state_dict())
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name


def test_groups_keep_the_proportions_of_their_rates() -> None:
    network, minibatches = digits_like()
    first, last = network[0].parameters(), network[4].parameters()
    optimizer = SGD([{"params": first, "lr": 0.01}, {"params": last, "lr": 0.1}])
    seen: list[tuple[float, float]] = []

    def look() -> None:
        seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"]))

    test = learning_rate_range_test(
        network, optimizer, cross_entropy, minibatches, low=1e-3, high=1.0, steps=4,
        after_backward=look,
    )  # fmt: skip
    assert [last for _, last in seen] == pytest.approx(test.rates)
    assert [first for first, _ in seen] == pytest.approx([rate / 10 for rate in test.rates])
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.1]


def test_a_test_ends_where_the_loss_is_no_finite_number() -> None:
    network, minibatches = digits_like()
    start = network[0].weight.detach().clone()

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        moved = (network[0].weight - start).abs().max()
        return cross_entropy(outputs, targets) / (moved < 0.1)

    test = learning_rate_range_test(
        network, SGD(network.parameters(), lr=1.0), loss, minibatches, low=1e-3, high=1.0
    )
    assert test.exploded
    assert test.losses[-1] == math.inf
    assert all(map(math.isfinite, test.losses[:-1]))


def test_what_was_wrong_with_the_loss_is_raised_and_everything_put_back() -> None:
    network, minibatches = digits_like()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        if not torch.equal(network[0].weight, before["0.weight"]):  # after a step
            raise RuntimeError("not so")
        return cross_entropy(outputs, targets)

    optimizer = SGD(network.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match="not so"):
        learning_rate_range_test(network, optimizer, loss, minibatches, low=1e-3, high=1.0)
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


class TestBadInput:
    def run(self, **changed: object) -> RangeTest:
        network, minibatches = digits_like()
        options = {"minibatches": minibatches, "loss": cross_entropy, **changed}
        return learning_rate_range_test(network, SGD(network.parameters(), lr=0.1), **options)  # type: ignore[arg-type]

    @pytest.mark.parametrize("rates", [(0.0, 1.0), (1.0, 0.1), (0.1, math.inf)])
    def test_rates_in_the_wrong_order(self, rates: tuple[float, float]) -> None:
        with pytest.raises(UserError, match="lowest rate must be above 0 and below the highest"):
            self.run(low=rates[0], high=rates[1])

    def test_too_few_steps(self) -> None:
        with pytest.raises(UserError, match="at least 2 steps, got 1"):
            self.run(steps=1)

    def test_a_multiple_that_ends_at_once(self) -> None:
        with pytest.raises(UserError, match="above 1, got 1"):
            self.run(multiple=1.0)

    def test_no_minibatches(self) -> None:
        with pytest.raises(UserError, match="there are none"):
            self.run(minibatches=[])

    def test_a_generator_that_is_used_up(self) -> None:
        _, minibatches = digits_like()
        with pytest.raises(UserError, match="ended after 10, and cannot be gone through again"):
            self.run(minibatches=(pair for pair in minibatches))

    def test_a_loss_that_is_no_number(self) -> None:
        with pytest.raises(UserError, match="no finite number before any step"):
            self.run(loss=lambda outputs, targets: cross_entropy(outputs, targets) * math.nan)
