"""A few minibatches at a few points, before any budget is spent."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from torch import nn

from nnstudy import Callback, Recipe, Study, losses
from nnstudy.data import Data, load
from nnstudy.errors import UserError
from nnstudy.preflight import Rehearsal, rehearse
from nnstudy.study.building import Conditions
from nnstudy.training import Record, Training
from tests.launching import blobs, network, recipe, toy

CONDITIONS = Conditions(epochs=5, metric="accuracy/valid", direction="maximize", device="cpu")


def rehearsed(study: Study, conditions: Conditions = CONDITIONS, **options: Any) -> Rehearsal:
    here = Path(__file__)
    return rehearse(study, load(blobs), conditions, is_own=lambda file: file == here, **options)


def test_a_study_that_works_tells_the_time_of_an_epoch() -> None:
    found = rehearsed(toy())
    assert found.failures == ()
    assert found.epoch_seconds is not None
    assert 0 < found.epoch_seconds < 5


def test_starts_are_among_the_points() -> None:
    seen: list[float] = []

    def noting(trial: optuna.Trial, data: Data) -> Recipe:
        seen.append(trial.suggest_float("lr", 0, 1))
        return Recipe(network=network(data), optimizer=partial(torch.optim.SGD, lr=seen[-1]))

    rehearsed(toy(noting), starts=[{"lr": 0.125}, {"lr": 0.25}])
    assert seen[:2] == [0.125, 0.25]
    assert len(seen) == 3


def test_a_recipe_that_always_raises_is_refused_with_its_line() -> None:
    def broken(trial: optuna.Trial, data: Data) -> Recipe:
        return undefined  # type: ignore[name-defined,no-any-return] # noqa: F821

    with pytest.raises(UserError) as raised:
        rehearsed(toy(broken))
    message = str(raised.value)
    assert "none of 3 sampled recipes can be trained" in message
    assert "NameError: name 'undefined' is not defined" in message
    assert re.search(r"test_rehearsal\.py, line \d+: return undefined", message)


def test_a_recipe_that_raises_at_some_points_is_told_of_those() -> None:
    def sometimes(trial: optuna.Trial, data: Data) -> Recipe:
        if trial.number == 1:
            raise ArithmeticError("not this one")
        return recipe(trial, data)

    (failure,) = rehearsed(toy(sometimes)).failures
    assert failure.startswith("ArithmeticError: not this one")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            {"network": nn.Linear(7, 3)},
            r"does not take inputs of shape \(18, 4\).*'blobs'.*RuntimeError",
        ),
        (
            {"network": nn.Linear(4, 2)},
            r"outputs of shape \(18, 2\) \(float32\) do not fit the loss and the targets of shape"
            r" \(18,\) \(int64\).*needs 3 outputs",
        ),
        (
            {"network": nn.Linear(4, 2), "loss": losses.MultiClassHinge()},
            r"outputs of shape \(18, 2\) .* do not fit the loss",
        ),
        ({"network": nn.LSTM(4, 3)}, r"outputs \(tuple\) do not fit the loss"),
    ],
    ids=["inputs", "outputs", "own loss", "tuple"],
)
def test_what_does_not_fit_is_told_in_shapes(made: dict[str, Any], said: str) -> None:
    def misfit(trial: optuna.Trial, data: Data) -> Recipe:
        return Recipe(optimizer=partial(torch.optim.SGD, lr=0.1), **made)

    with pytest.raises(UserError, match=f"(?s)none of 3 .*{said}"):
        rehearsed(toy(misfit))


def test_a_mistake_in_a_network_is_told_with_its_line() -> None:
    class Mistaken(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs.flatten())

    def mistaken(trial: optuna.Trial, data: Data) -> Recipe:
        return Recipe(network=Mistaken(4, 3), optimizer=partial(torch.optim.SGD, lr=0.1))

    with pytest.raises(UserError) as raised:
        rehearsed(toy(mistaken))
    assert re.search(
        r"test_rehearsal\.py, line \d+: return super\(\).forward\(inputs.flatten", str(raised.value)
    )


def test_a_metric_that_no_epoch_has_is_refused_with_those_there_are() -> None:
    conditions = Conditions(epochs=5, metric="f1/valid", direction="maximize", device="cpu")
    with pytest.raises(UserError, match=r"'f1/valid' is not among.*accuracy/valid.*loss/valid"):
        rehearsed(toy(), conditions)


def test_a_schedule_sees_the_length_of_the_whole_training() -> None:
    lengths: list[tuple[int, int]] = []

    def schedule(optimizer: Any, steps: Any) -> Any:
        lengths.append((int(steps), steps.per_epoch))
        return torch.optim.lr_scheduler.StepLR(optimizer, steps // 4)

    def scheduled(trial: optuna.Trial, data: Data) -> Recipe:
        return Recipe(
            network=network(data),
            optimizer=partial(torch.optim.SGD, lr=0.1),
            schedule=schedule,
            batch_size=96,
        )

    rehearsed(toy(scheduled))
    assert lengths == [(5, 1)] * 3


def test_a_long_epoch_is_measured_by_some_of_its_minibatches() -> None:
    steps: list[int] = []

    class Count(Callback):
        def on_validation_end(self, training: Training, record: Record) -> None:
            steps.append(training.position)

    def small(trial: optuna.Trial, data: Data) -> Recipe:
        made = recipe(trial, data)
        made.batch_size, made.callbacks = 2, (Count(),)
        return made

    found = rehearsed(toy(small))
    assert steps == [10, 10, 10]
    assert found.epoch_seconds is not None


def test_points_that_diverge_are_no_failures() -> None:
    def exploding(trial: optuna.Trial, data: Data) -> Recipe:
        return Recipe(
            network=nn.Linear(4, 3),
            optimizer=partial(torch.optim.SGD, lr=1e30),
            loss=lambda output, target: output.square().mean(),
            batch_size=8,
        )

    assert rehearsed(toy(exploding)) == Rehearsal(None, (), ({},))


def test_a_loop_of_the_users_own_is_built_but_not_started() -> None:
    def own(trial: optuna.Trial, data: Data) -> Any:
        def epochs() -> Any:
            started.append(True)
            yield {}

        return epochs()

    started: list[bool] = []
    assert rehearsed(toy(own)) == Rehearsal(None, (), ({},))
    assert not started


def test_a_recipe_that_returns_something_else_is_refused() -> None:
    def wrong(trial: optuna.Trial, data: Data) -> Any:
        return 5

    with pytest.raises(UserError, match="returned int; it must return a Recipe"):
        rehearsed(toy(wrong))
