from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

from nnstudy.diagnostics import UpdateRatioMonitor
from nnstudy.errors import UserError
from nnstudy.training.checkpoints import read, write

INPUTS = torch.randn(64, 12, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(0, 3, (64,), generator=torch.Generator().manual_seed(2))
LBFGS = partial(torch.optim.LBFGS, lr=0.5, max_iter=3)

OPTIMIZERS = {
    "sgd": partial(SGD, lr=0.1, weight_decay=1e-3),
    "momentum": partial(SGD, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "nesterov": partial(SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adagrad": partial(Adagrad, lr=0.02, weight_decay=1e-3),
    "rmsprop": partial(RMSprop, lr=0.01, weight_decay=1e-3),
    "adam": partial(Adam, lr=0.01, weight_decay=1e-3),
    "fused adam": partial(Adam, lr=0.01, weight_decay=1e-3, fused=True),
    "adamw": partial(AdamW, lr=0.01, weight_decay=0.1),
    "lbfgs": LBFGS,
    "lbfgs with line search": partial(LBFGS, line_search_fn="strong_wolfe"),
}


def make_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 3))


def step(network: nn.Module, optimizer: Optimizer) -> None:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(INPUTS), TARGETS)
        # L-BFGS has no weight decay of its own.
        loss = loss + 5e-4 * sum(p.square().sum() for p in network.parameters())
        loss.backward()
        return loss

    optimizer.step(closure)


def only(section: str, values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name.startswith(f"{section}/")}


def ratios_by_hand(network: nn.Module, action: Callable[[], None]) -> dict[str, float]:
    before = {name: p.detach().double().clone() for name, p in network.named_parameters()}
    action()
    return {
        name: float((p.detach().double() - before[name]).norm() / before[name].norm())
        for name, p in network.named_parameters()
    }


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ratios_equal_those_of_parameters_copied_before_and_after(name: str) -> None:
    network = make_network()
    nn.init.normal_(network[1].bias)  # norm zero otherwise
    optimizer = OPTIMIZERS[name](network.parameters())
    monitor = UpdateRatioMonitor(network, optimizer, every=2)
    epochs, steps = 2, 6
    for _ in range(epochs):
        by_hand = [ratios_by_hand(network, lambda: step(network, optimizer)) for _ in range(steps)]
        measured = by_hand[::2]
        expected = {
            f"update_ratio/{name}": sum(ratios[name] for ratios in measured) / len(measured)
            for name in measured[0]
        }
        assert only("update_ratio", monitor.values()) == pytest.approx(expected, rel=1e-5)
        assert monitor.left_out == ()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_norms_of_weights_and_gradients_are_those_that_the_optimizer_finds(name: str) -> None:
    network = make_network()
    optimizer = OPTIMIZERS[name](network.parameters())
    monitor = UpdateRatioMonitor(network, optimizer, every=1)
    weights: list[dict[str, float]] = []
    gradients: list[dict[str, float]] = []
    for _ in range(3):
        weights.append(
            {n: float(p.detach().double().norm()) for n, p in network.named_parameters()}
        )
        step(network, optimizer)
        gradients.append({n: float(p.grad.double().norm()) for n, p in network.named_parameters()})
    values = monitor.values()
    for section, steps in (("weight_norm", weights), ("gradient_norm", gradients)):
        means = {f"{section}/{n}": sum(norms[n] for norms in steps) / 3 for n in steps[0]}
        assert only(section, values) == pytest.approx(means, rel=1e-5, abs=1e-9)


def test_gradients_are_taken_before_a_step_that_writes_into_them() -> None:
    network = make_network()
    optimizer = SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, foreach=True)
    monitor = UpdateRatioMonitor(network, optimizer, every=1)
    norms = []
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(INPUTS), TARGETS).backward()
        norms.append(float(network[0].weight.grad.norm()))
        optimizer.step()
    assert float(network[0].weight.grad.norm()) != pytest.approx(norms[-1], rel=1e-2)
    values = monitor.values()
    assert values["gradient_norm/0.weight"] == pytest.approx(sum(norms) / 3, rel=1e-5)


def test_tensors_without_a_gradient_have_no_norm_of_it_and_sparse_ones_do() -> None:
    network = nn.ModuleDict(
        {"used": nn.Embedding(50, 4, sparse=True), "unused": nn.Embedding(50, 4)}
    )
    optimizer = SGD(network.parameters(), lr=0.1)
    monitor = UpdateRatioMonitor(network, optimizer)
    network["used"](torch.tensor([3, 3, 7])).square().sum().backward()
    by_hand = float(network["used"].weight.grad.to_dense().norm())
    optimizer.step()
    assert only("gradient_norm", monitor.values()) == pytest.approx(
        {"gradient_norm/used.weight": by_hand}, rel=1e-5
    )


def test_monitor_does_not_change_the_training() -> None:
    weights = []
    for watched in (False, True):
        network = make_network()
        optimizer = Adam(network.parameters())
        if watched:
            UpdateRatioMonitor(network, optimizer, every=1)
        for _ in range(5):
            step(network, optimizer)
        weights.append([p.clone() for p in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_tensors_of_norm_zero_are_left_out_and_named() -> None:
    network = make_network()
    nn.init.zeros_(network[3].bias)
    optimizer = SGD(network.parameters(), lr=0.1)
    monitor = UpdateRatioMonitor(network, optimizer, every=10)
    step(network, optimizer)
    values = monitor.values()
    assert monitor.left_out == ("1.bias", "3.bias")
    assert set(only("update_ratio", values)) == {
        f"update_ratio/{name}" for name in ("0.weight", "0.bias", "1.weight", "3.weight")
    }
    assert values["weight_norm/3.bias"] == 0.0
    step(network, optimizer)
    assert "update_ratio/3.bias" in monitor.values()
    assert monitor.left_out == ()


def test_steps_at_which_a_norm_is_zero_do_not_count() -> None:
    network = nn.Linear(12, 3)
    nn.init.zeros_(network.bias)
    optimizer = SGD(network.parameters(), lr=0.1)
    monitor = UpdateRatioMonitor(network, optimizer, every=1)
    step(network, optimizer)
    second = ratios_by_hand(network, lambda: step(network, optimizer))
    assert monitor.values()["update_ratio/bias"] == pytest.approx(second["bias"], rel=1e-5)


def test_frozen_parameters_are_skipped_until_they_are_unfrozen() -> None:
    network = make_network()
    network[0].requires_grad_(False)
    optimizer = SGD(network.parameters(), lr=0.1)
    monitor = UpdateRatioMonitor(network, optimizer, every=1)
    step(network, optimizer)
    assert not any(name.startswith("update_ratio/0.") for name in monitor.values())
    network[0].requires_grad_(True)
    step(network, optimizer)
    assert "update_ratio/0.weight" in monitor.values()


def test_shared_parameters_are_measured_once() -> None:
    network = nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3))
    network[1].weight = network[0].weight
    optimizer = SGD(network.parameters(), lr=0.1)
    monitor = UpdateRatioMonitor(network, optimizer, every=1)
    step(network, optimizer)
    values = monitor.values()
    assert "update_ratio/0.weight" in values
    assert "update_ratio/1.weight" not in values


def test_parameter_groups_are_measured_together_and_parameters_of_others_not_at_all() -> None:
    network = make_network()
    groups = [{"params": [network[0].weight], "lr": 0.0}, {"params": [network[3].weight]}]
    optimizer = SGD(groups, lr=0.1)
    monitor = UpdateRatioMonitor(network, optimizer, every=1)
    by_hand = ratios_by_hand(network, lambda: step(network, optimizer))
    expected = {"update_ratio/0.weight": 0.0, "update_ratio/3.weight": by_hand["3.weight"]}
    assert only("update_ratio", monitor.values()) == pytest.approx(expected, rel=1e-5)


def test_half_precision_parameters_are_measured_in_single_precision() -> None:
    network = nn.Linear(500, 40).to(torch.bfloat16)
    optimizer = SGD(network.parameters(), lr=0.05)
    monitor = UpdateRatioMonitor(network, optimizer, every=1)
    network(torch.randn(8, 500, dtype=torch.bfloat16)).square().mean().backward()
    by_hand = ratios_by_hand(network, optimizer.step)
    measured = monitor.values()
    assert measured["update_ratio/weight"] == pytest.approx(by_hand["weight"], rel=1e-5)


@pytest.mark.parametrize("steps", [1, 3, 5, 7, 9, 17, 100, 391])
def test_five_evenly_spaced_steps_of_an_epoch_are_measured(steps: int) -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer = SGD([weight], lr=1.0)
    monitor = UpdateRatioMonitor(nn.ParameterList([weight]), optimizer, steps_per_epoch=steps)
    for _ in range(2):
        for i in range(steps):
            # Counted from outside: step i changes the weight by i * 2^-10 of its norm.
            weight.data.fill_(1.0)
            weight.grad = torch.full((1,), i * 2.0**-10)
            optimizer.step()
        measured = [i for i in range(steps) if i * 5 % steps < 5]
        assert len(measured) == min(5, steps)
        gaps = {b - a for a, b in itertools.pairwise(measured)}
        assert max(gaps, default=1) - min(gaps, default=1) <= 1
        expected = sum(measured) / len(measured) * 2.0**-10
        assert monitor.values()["update_ratio/0"] == pytest.approx(expected, rel=1e-5)


def test_length_of_an_epoch_is_learned_from_the_last_one() -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer = SGD([weight], lr=1.0)
    monitor = UpdateRatioMonitor(nn.ParameterList([weight]), optimizer)
    expected = {60: range(0, 60, 10), 40: [0, 12, 24, 36], 3: [0], 4: [0, 1, 2, 3]}
    for steps, measured in expected.items():
        for i in range(steps):
            weight.data.fill_(1.0)
            weight.grad = torch.full((1,), i * 2.0**-10)
            optimizer.step()
        mean = sum(measured) / len(measured) * 2.0**-10
        assert monitor.values()["update_ratio/0"] == pytest.approx(mean, rel=1e-5)


def test_nothing_is_measured_without_steps_and_after_detaching() -> None:
    network = make_network()
    optimizer = SGD(network.parameters(), lr=0.1)
    monitor = UpdateRatioMonitor(network, optimizer, every=1)
    assert monitor.values() == {}
    monitor.detach()
    monitor.detach()
    step(network, optimizer)
    assert monitor.values() == {}


@pytest.mark.parametrize("stop_after", [0, 1, 4, 7])
@pytest.mark.parametrize(
    ("name", "spacing"), [*((name, {"steps_per_epoch": 7}) for name in OPTIMIZERS), ("sgd", {})]
)
def test_values_after_a_restart_are_those_of_an_undisturbed_monitor(
    name: str, stop_after: int, spacing: dict[str, int], tmp_path: Path
) -> None:
    network = make_network()
    optimizer = OPTIMIZERS[name](network.parameters())
    undisturbed = UpdateRatioMonitor(network, optimizer, **spacing)
    stopped = UpdateRatioMonitor(network, optimizer, **spacing)
    for _ in range(stop_after):
        step(network, optimizer)
    write(tmp_path / "last.safetensors", stopped.state_dict())
    stopped.detach()
    continued = UpdateRatioMonitor(network, optimizer, **spacing)
    continued.load_state_dict(read(tmp_path / "last.safetensors")[0])

    for steps in (7 - stop_after, 7):
        for _ in range(steps):
            step(network, optimizer)
        values = continued.values()
        assert values
        assert values == undisturbed.values()
        assert continued.left_out == undisturbed.left_out


def test_after_a_restart_parameters_count_that_were_frozen_meanwhile_until_the_epoch_ends() -> None:
    network = make_network()
    optimizer = SGD(network.parameters(), lr=0.1)
    monitor = UpdateRatioMonitor(network, optimizer, every=1)
    step(network, optimizer)
    network[0].requires_grad_(False)
    continued = UpdateRatioMonitor(network, optimizer, every=1)
    continued.load_state_dict(monitor.state_dict())

    for is_measured in (True, False):
        step(network, optimizer)
        values = continued.values()
        assert ("update_ratio/0.weight" in values) == is_measured
        assert values == monitor.values()


def test_a_state_of_another_model_is_refused() -> None:
    network, other = make_network(), nn.Linear(2, 2)
    monitor = UpdateRatioMonitor(network, SGD(network.parameters(), lr=0.1), every=1)
    with pytest.raises(UserError, match=r"another model, this one has no weight, bias"):
        monitor.load_state_dict(
            UpdateRatioMonitor(other, SGD(other.parameters(), lr=0.1), every=1).state_dict()
        )


def test_wrong_arguments_are_named() -> None:
    network = make_network()
    optimizer = SGD(network.parameters(), lr=0.1)
    with pytest.raises(UserError, match="either every"):
        UpdateRatioMonitor(network, optimizer, every=1, steps_per_epoch=1)
    with pytest.raises(UserError, match="every must be at least 1, got 0"):
        UpdateRatioMonitor(network, optimizer, every=0)
    with pytest.raises(UserError, match="none of the model's"):
        UpdateRatioMonitor(nn.Linear(2, 2), optimizer, every=1)


def test_import_needs_neither_optuna_nor_mlflow_nor_our_training() -> None:
    code = (
        "import sys, nnstudy.diagnostics;"
        "bad = {'optuna', 'mlflow', 'nnstudy.training', 'nnstudy.data'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_overhead_at_five_measurements_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    """Interleaved epochs of a 784-100-10 perceptron of 100 steps, with and without (CPU time)."""
    steps = 100
    inputs, targets = torch.randn(128, 784), torch.randint(0, 10, (128,))

    def seconds_of_epoch(network: nn.Module, optimizer: Optimizer) -> float:
        start = time.process_time()
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
        return time.process_time() - start

    def pair() -> tuple[nn.Module, Optimizer]:
        network = nn.Sequential(nn.Linear(784, 100), nn.Sigmoid(), nn.Linear(100, 10))
        return network, SGD(network.parameters(), lr=0.01, momentum=0.9)

    plain, watched = pair(), pair()
    monitor = UpdateRatioMonitor(*watched, steps_per_epoch=steps)
    ratios = []
    for _ in range(7):
        bare = seconds_of_epoch(*plain)
        start = time.process_time()
        seconds_of_epoch(*watched)
        monitor.values()
        ratios.append((time.process_time() - start) / bare)
    ratio = sorted(ratios)[len(ratios) // 2]
    with capsys.disabled():
        print(f" update ratios cost {ratio - 1:+.1%} of an epoch", end="")  # noqa: T201
    assert ratio < 1.5  # loose: other programs share the machine
