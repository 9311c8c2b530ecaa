"""Building at corners, and the memory of the largest network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import torch
from optuna.distributions import IntDistribution
from torch import Tensor, nn

from nnstudy import Recipe, Study, models
from nnstudy.data import Data
from nnstudy.preflight.candidate import Candidate, Search
from nnstudy.preflight.checks import building
from nnstudy.preflight.checks.memory import activation_bytes, optimizer_bytes
from nnstudy.preflight.result import Result
from nnstudy.search.space import probe
from nnstudy.study.building import Conditions

from .candidates import SGD, clouds

HERE = Path(__file__)
DATA = clouds()


def of(recipe: Callable[[Any, Data], Any], workers: int = 1) -> Candidate:
    with torch.device("meta"):
        space = probe(lambda trial: recipe(trial, DATA), 50)
    search = Search(
        {name: asked.distributions for name, asked in space.parameters.items()},
        50,
        [(failure.params, failure.error) for failure in space.failures],
        workers,
        lambda file: file == HERE,
    )
    conditions = Conditions(epochs=1, metric="accuracy/valid", direction="maximize", device="cpu")
    params = {"lr": 0.5, "units": 8, "depth": 1}
    study = Study("planted", recipe, data=None)
    return Candidate(study, DATA, conditions, params, search=search)


def results(candidate: Candidate) -> dict[str, Result]:
    return {result.check: result for result in building.run(candidate)}


def sound(trial: optuna.Trial, data: Data) -> Recipe:
    widths = [trial.suggest_int("units", 4, 64)] * trial.suggest_int("depth", 1, 3)
    trial.suggest_categorical("activation", ["relu", "tanh"])
    return Recipe(network=models.mlp(data.shape, widths, data.outputs), optimizer=SGD)


def test_a_recipe_that_builds_everywhere_passes_and_its_corners_are_counted() -> None:
    found = results(of(sound))["building"]
    assert found.outcome == "passed"
    # All low, all high; each of two numbers low and high; each of two choices with both.
    assert found.figures == {"points": 50, "corners": 2 + 2 * 2 + 2 * 2, "failures": 0}


def test_a_recipe_that_fails_at_a_corner_alone_is_a_warning_with_line_and_values() -> None:
    def brittle(trial: optuna.Trial, data: Data) -> Recipe:
        lr = trial.suggest_float("lr", 0.0, 1.0)
        trial.suggest_int("units", 4, 64)
        rate = 1 / lr
        return Recipe(network=nn.Linear(8, 3), optimizer=partial(torch.optim.SGD, lr=rate))

    found = results(of(brittle))["building"]
    assert found.outcome == "warned"
    assert "raises at 2 of 50 points and 6 corners" in found.found
    assert "lr=0" in found.found
    assert "ZeroDivisionError" in found.found
    assert "test_building.py, line" in found.found
    assert "rate = 1 / lr" in found.found
    assert found.advice


def test_a_recipe_that_builds_nowhere_fails() -> None:
    def broken(trial: optuna.Trial, data: Data) -> Recipe:
        trial.suggest_int("units", 4, 64)
        raise ArithmeticError("never")

    (found,) = building.run(of(broken))
    assert found.outcome == "failed"
    assert "ArithmeticError: never" in found.found


def test_a_point_that_is_pruned_is_no_failure() -> None:
    def choosy(trial: optuna.Trial, data: Data) -> Recipe:
        if trial.suggest_int("units", 4, 64) > 60:
            raise optuna.TrialPruned
        return Recipe(network=nn.Linear(8, 3), optimizer=SGD)

    assert results(of(choosy))["building"].outcome == "passed"


def test_branches_are_followed_wherever_a_corner_leads() -> None:
    seen: set[tuple[str, float]] = set()

    def branching(trial: optuna.Trial, data: Data) -> Recipe:
        trial.suggest_int("units", 4, 64)
        kind = trial.suggest_categorical("kind", ["a", "b"])
        seen.add((kind, trial.suggest_float(f"strength_{kind}", 1.0, 2.0)))
        return Recipe(network=nn.Linear(8, 3), optimizer=SGD)

    candidate = of(branching)
    seen.clear()
    building.run(candidate)
    assert seen == {(kind, end) for kind in "ab" for end in (1.0, 2.0)}


def test_what_needs_numbers_to_build_is_built_with_numbers() -> None:
    built: list[int] = []

    def computing(trial: optuna.Trial, data: Data) -> Recipe:
        units = trial.suggest_int("units", 4, 8)
        network = models.mlp(data.shape, [units], data.outputs)
        assert torch.cat([p.flatten() for p in network.parameters()]).norm().item() > 0
        built.append(units)
        return Recipe(network=network, optimizer=SGD)

    found = results(replace(of(computing), search=Search({"units": (IntDistribution(4, 8),)}, 50)))
    assert {4, 8} <= set(built)
    assert found["building"].outcome == "passed"
    assert found["memory"].outcome == "passed"


def test_a_loop_of_the_users_own_is_built_but_has_no_memory_to_tell() -> None:
    def own(trial: optuna.Trial, data: Data) -> Iterator[dict[str, float]]:
        trial.suggest_int("units", 4, 8)
        return iter([])

    assert list(results(of(own))) == ["building"]


def test_the_largest_network_is_counted_in_full() -> None:
    def wide(trial: optuna.Trial, data: Data) -> Recipe:
        units = trial.suggest_int("units", 4, 64)
        network = nn.Sequential(nn.Linear(8, units), nn.ReLU(), nn.Linear(units, 3))
        return Recipe(network=network, optimizer=partial(torch.optim.Adam, lr=0.1), batch_size=32)

    figures = results(of(wide))["memory"].figures
    weights = 8 * 64 + 64 + 64 * 3 + 3
    assert figures["weights"] == weights
    assert figures["weight_bytes"] == 4 * weights
    assert figures["optimizer_bytes"] == pytest.approx(8 * weights, abs=16)  # and four counters
    # What backpropagation needs: the inputs, and what comes out of the rectifier.
    assert figures["activation_bytes"] == 4 * 32 * (8 + 64)


def test_a_network_that_does_not_fit_is_a_warning_with_its_values() -> None:
    def huge(trial: optuna.Trial, data: Data) -> Recipe:
        units = trial.suggest_int("units", 4, 1_000_000)
        network = nn.Sequential(nn.Linear(8, units), nn.Linear(units, units), nn.Linear(units, 3))
        return Recipe(network=network, optimizer=SGD)

    found = results(of(huge))  # four terabytes of weights, none of which are made
    assert found["building"].outcome == "passed"
    assert found["memory"].outcome == "warned"
    assert "1,000,013,000,003 weights" in found["memory"].found
    assert "units=1000000" in found["memory"].found
    assert psutil.Process().memory_info().rss < 8e9


def test_workers_share_the_memory() -> None:
    one, two = (results(of(sound, workers))["memory"] for workers in (1, 2))
    assert one.figures["bytes"] == two.figures["bytes"]
    assert (one.figures["trainings"], two.figures["trainings"]) == (1, 2)
    crowd = results(of(sound, 10**9))["memory"]
    assert crowd.outcome == "warned"


class Looking(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = super().forward(inputs)
        return outputs if outputs.sum().item() > 0 else -outputs


def test_where_a_network_needs_numbers_its_activations_are_said_not_to_be_counted() -> None:
    def looking(trial: optuna.Trial, data: Data) -> Recipe:
        trial.suggest_int("units", 4, 64)
        return Recipe(network=Looking(8, 3), optimizer=SGD)

    found = results(of(looking))["memory"]
    assert found.figures["activation_bytes"] is None
    assert "activations not counted" in found.found


@pytest.mark.parametrize(
    ("optimizer", "numbers"),
    [
        (partial(torch.optim.SGD, lr=0.1), 0),
        (partial(torch.optim.SGD, lr=0.1, momentum=0.9), 1),
        (partial(torch.optim.Adam, lr=0.1), 2),
        (partial(torch.optim.LBFGS, lr=0.1), 2),  # which cannot be tried: as Adam
    ],
)
def test_what_an_optimizer_holds_is_what_it_holds_on_real_weights(
    optimizer: Callable[[Any], torch.optim.Optimizer], numbers: int
) -> None:
    network = models.mlp(DATA.shape, [16], DATA.outputs)
    recipe = Recipe(network=network, optimizer=optimizer)
    weights = 4 * sum(p.numel() for p in network.parameters())
    found = optimizer_bytes(recipe, network.to("meta"), len(DATA.train))
    assert found == pytest.approx(numbers * weights, abs=4 * len(list(network.parameters())))


def test_activations_are_those_that_a_real_minibatch_leaves() -> None:
    network = models.convnet((1, 8, 8), 3, channels=[4, 8], dropout=0.5)
    recipe = Recipe(network=network, optimizer=SGD, batch_size=16)
    images = torch.randn(60, 1, 8, 8)
    data = replace(DATA, train=images_part(images))
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if all(storage.data_ptr() != p.untyped_storage().data_ptr() for p in network.parameters()):
            kept[storage.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = network(images[:16])
    real = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del outputs
    assert activation_bytes(recipe, network.to("meta"), data) == pytest.approx(real, rel=0.05)


def images_part(images: Tensor) -> Any:
    from nnstudy.data.parts import TensorPart

    return TensorPart(images, torch.zeros(len(images), dtype=torch.long))
