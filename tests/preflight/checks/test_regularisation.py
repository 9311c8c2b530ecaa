"""A decay that does not do what it says is found."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, NAdam, Optimizer, RMSprop

from nnstudy import Recipe
from nnstudy.data import Data
from nnstudy.preflight.checks import regularisation
from nnstudy.preflight.checks.regularisation import CHECK
from tests.preflight.checks.candidates import candidate, clouds, only, plain

DATA = clouds()
LBFGS = partial(torch.optim.LBFGS, max_iter=2)


def normalised(data: Data) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


EXACT = {
    "sgd": partial(SGD, lr=0.1),
    "momentum": partial(SGD, lr=0.1, momentum=0.9),
    "adamw": partial(AdamW, lr=0.01),
    "decoupled nadam": partial(NAdam, lr=0.01, decoupled_weight_decay=True),
}
COUPLED = {
    "nesterov": partial(SGD, lr=0.1, momentum=0.9, nesterov=True),
    "adam": partial(Adam, lr=0.01),
    "rmsprop": partial(RMSprop, lr=0.01),
    "adagrad": partial(Adagrad, lr=0.01),
}
PENALTIES: list[dict[str, Any]] = [
    {"weight_decay": 1e-2},
    {"weight_decay": 1e-8},
    {"l2": 5.0},
    {"l1": 0.1},
    {"l2": 5.0, "l1": 0.1},
]


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda p: "-".join(map(str, p)))
@pytest.mark.parametrize("name", EXACT)
def test_each_weight_moves_by_exactly_the_penalty(name: str, penalty: dict[str, float]) -> None:
    if "adamw" in name and "l1" in penalty and "l2" not in penalty:
        pytest.skip("AdamW decays by itself, which another test is about")
    result = only(CHECK, plain(DATA, network=normalised, optimizer=EXACT[name], **penalty))
    assert result.outcome == "passed", result.found
    assert "-lr * " in result.found
    expected = penalty.get("weight_decay") or penalty.get("l2", 0.0) / len(DATA.train)
    assert result.figures["decay"] == pytest.approx(expected)
    assert result.figures["weights"] == 2


@pytest.mark.parametrize("name", COUPLED)
def test_a_decay_that_is_part_of_the_gradient_steps_like_that_gradient(name: str) -> None:
    result = only(CHECK, plain(DATA, network=normalised, optimizer=COUPLED[name], l2=3.0))
    assert result.outcome == "passed", result.found
    assert "for a gradient of decay * w" in result.found


def test_as_a_term_of_the_loss_twice_the_penalty_is_twice_the_loss() -> None:
    result = only(CHECK, plain(DATA, optimizer=LBFGS, l2=2.0, l1=1.0))
    assert result.outcome == "passed"
    assert result.figures["twice"] == pytest.approx(2 * result.figures["once"])


def test_a_penalty_that_does_not_grow_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regularisation, "penalty", lambda *_: torch.tensor(1.0))
    assert only(CHECK, plain(DATA, optimizer=LBFGS, l2=2.0)).outcome == "failed"


class Forgetful(SGD):
    """Its groups lose their decay."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__([p for group in params for p in group["params"]], lr, weight_decay=1e-9)


class Everywhere(SGD):
    """Biases decay too."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__([p for group in params for p in group["params"]], lr, weight_decay=1e-2)


class Doubled(SGD):
    """Decays twice."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
        super().step()


class Upwards(SGD):
    """Has the sign wrong."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.mul_(1 + group["lr"] * group["weight_decay"])


@pytest.mark.parametrize("faulty", [Forgetful, Everywhere, Doubled, Upwards])
def test_a_decay_that_is_not_what_it_says_is_found(faulty: type[Optimizer]) -> None:
    def network(data: Data) -> nn.Module:
        made = normalised(data)
        nn.init.constant_(made[0].bias, 0.5)
        return made

    result = only(
        CHECK, plain(DATA, network=network, optimizer=partial(faulty, lr=0.1), weight_decay=1e-2)
    )
    assert result.outcome == "failed", result.found
    assert "groups" in result.advice


def test_an_optimizer_that_ignores_the_parameters_it_is_handed_is_found() -> None:
    def recipe(data: Data) -> Recipe:
        network = nn.Linear(8, 3)
        return Recipe(
            network=network, optimizer=lambda _: SGD(network.parameters(), 0.1), weight_decay=0.1
        )

    assert only(CHECK, candidate(recipe, DATA)).outcome == "failed"


def test_a_decay_of_the_optimizers_own_is_told() -> None:
    result = only(CHECK, plain(DATA, optimizer=AdamW))
    assert result.outcome == "told"
    assert "0.01" in result.found


def test_without_a_penalty_there_is_nothing_to_check() -> None:
    result = only(CHECK, plain(DATA))
    assert (result.outcome, result.kind) == ("skipped", "code")
