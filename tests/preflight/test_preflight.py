"""Which checks are put to which points, and what becomes of what they raise."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from torch import Tensor, nn

from nnstudy import Recipe
from nnstudy.data import Data, load
from nnstudy.errors import UserError
from nnstudy.preflight import Check, Report, Result, run_preflight
from nnstudy.preflight.candidate import Candidate, Search
from nnstudy.preflight.preflight import MORE_POINTS, undisturbed
from nnstudy.preflight.result import Kind
from nnstudy.study.building import Conditions
from tests.launching import blobs, network, toy

CONDITIONS = Conditions(epochs=5, metric="accuracy/valid", direction="maximize", device="cpu")
POINTS = [{"lr": 0.1}, {"lr": 0.01}, {"lr": 1.0}]
HERE = Path(__file__)


def recipe(trial: optuna.Trial, data: Data) -> Recipe:
    lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
    return Recipe(network=network(data), optimizer=partial(torch.optim.SGD, lr=lr))


def flown(
    *checks: Check,
    recipe: Callable[..., Any] = recipe,
    points: Sequence[dict[str, Any]] = POINTS,
    **options: Any,
) -> Report:
    return run_preflight(
        toy(recipe),
        load(blobs),
        CONDITIONS,
        points=points,
        search=Search(is_own=lambda file: file == HERE),
        **({"checks": checks} if checks else {}),
        **options,
    )


def noting(
    asked: list[float],
    *,
    kind: Kind = "code",
    of_point: bool = True,
    seconds: float = 0.0,
    outcome: Any = "passed",
) -> Check:
    def run(candidate: Candidate) -> list[Result]:
        asked.append(candidate.params["lr"])
        time.sleep(seconds)
        params = candidate.params if of_point else {}
        return [Result("noting", kind, outcome, "noted", params=params)]

    return Check("noting", kind, run)


def test_a_check_of_a_point_is_put_to_each() -> None:
    asked: list[float] = []
    report = flown(noting(asked))
    assert asked == [0.1, 0.01, 1.0]
    assert list(report.points) == POINTS
    assert [result.outcome for result in report.results] == ["passed"]


def test_a_check_of_the_data_is_asked_once() -> None:
    asked: list[float] = []
    flown(noting(asked, of_point=False))
    assert asked == [0.1]


def test_each_result_is_told_as_soon_as_it_stands() -> None:
    told: list[Result] = []
    first, second = noting([]), noting([], of_point=False)
    report = flown(first, second, tell=told.append)
    assert told == list(report.results)
    assert len(told) == 2


def test_where_time_is_short_only_the_first_point_is_asked() -> None:
    asked: list[float] = []
    slow = noting(asked, seconds=0.05)
    report = flown(slow, *[noting([])] * 9, budget=0.4)
    assert asked == [0.1]
    assert report.results[0].outcome == "passed"


def test_what_is_not_begun_in_time_is_skipped_in_words() -> None:
    asked: list[float] = []
    report = flown(noting([], seconds=0.05, of_point=False), noting(asked), budget=0.01)
    assert not asked
    assert report.results[1].outcome == "skipped"
    assert "not begun within the 0.01 s" in report.results[1].found
    assert report.passed


def test_a_configuration_that_fails_gets_the_time_that_others_have_left() -> None:
    asked: list[float] = []
    failing = noting(asked, kind="configuration", seconds=0.05, outcome="failed")
    report = flown(failing, *[noting([])] * 9, budget=0.4)
    assert asked[:3] == [0.1, 0.01, 1.0]
    assert 3 < len(asked) < 3 + MORE_POINTS
    assert not report.passed


def test_a_space_with_few_good_choices_is_no_failure() -> None:
    asked: list[float] = []

    def run(candidate: Candidate) -> list[Result]:
        rate = candidate.params["lr"]
        asked.append(rate)
        outcome = "passed" if 0.003 < rate < 0.01 else "failed"
        return [Result("choosy", "configuration", outcome, "chose", params=candidate.params)]

    report = flown(Check("choosy", "configuration", run))
    assert report.passed
    assert report.results[0].outcome == "warned"
    assert f"(at {len(asked) - 1} of {len(asked)} sampled points: " in report.results[0].found
    assert 0.003 < asked[-1] < 0.01


def test_a_space_without_a_good_choice_stops_after_twenty_points() -> None:
    asked: list[float] = []
    report = flown(noting(asked, kind="configuration", outcome="failed"))
    assert len(set(asked)) == 3 + MORE_POINTS
    assert not report.passed


def test_wrong_code_is_not_looked_at_further() -> None:
    asked: list[float] = []
    report = flown(noting(asked, outcome="failed"))
    assert asked == [0.1, 0.01, 1.0]
    assert not report.passed


def test_without_a_point_that_can_be_trained_checks_are_skipped() -> None:
    report = flown(noting([]), points=[])
    assert report.results[0].outcome == "skipped"
    assert report.results[0].found == "no sampled point can be trained"


def _forward(candidate: Candidate) -> list[Result]:
    inputs, _ = next(candidate.data.train.minibatches(2))
    candidate.recipe().network(inputs)
    return [Result("forward", "code", "passed", "ran", params=candidate.params)]


FORWARD = Check("forward", "code", _forward)


class Clumsy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ torch.ones(len(self.weight) + 1)


def clumsy(trial: optuna.Trial, data: Data) -> Recipe:
    lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
    return Recipe(network=Clumsy(), optimizer=partial(torch.optim.SGD, lr=lr))


def test_what_a_network_raises_is_blamed_on_its_line() -> None:
    (result,) = flown(FORWARD, recipe=clumsy).results
    assert result.outcome == "failed"
    assert "RuntimeError" in result.found
    assert "test_preflight.py, line" in result.found
    assert "inputs @ torch.ones(len(self.weight) + 1)" in result.found


def test_what_it_raises_at_some_points_only_is_a_warning() -> None:
    def sometimes(trial: optuna.Trial, data: Data) -> Recipe:
        made = recipe(trial, data)
        return clumsy(trial, data) if trial.params["lr"] == 0.01 else made

    (result,) = flown(FORWARD, recipe=sometimes).results
    assert result.outcome == "warned"
    assert "at 1 of 3 sampled points: lr=0.01" in result.found


def test_what_pytorchs_own_layers_raise_is_the_recipes_too() -> None:
    def misfit(trial: optuna.Trial, data: Data) -> Recipe:
        made = recipe(trial, data)
        made.network = nn.Sequential(nn.Linear(7, 3))
        return made

    (result,) = flown(FORWARD, recipe=misfit).results
    assert result.outcome == "failed"
    assert "shapes cannot be multiplied" in result.found


def test_a_defect_of_a_check_is_raised() -> None:
    def defective(candidate: Candidate) -> list[Result]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_preflight(
            toy(recipe),
            load(blobs),
            CONDITIONS,
            points=POINTS,
            search=Search(),
            checks=[Check("defective", "code", defective)],
        )


def test_what_a_check_cannot_do_is_skipped_in_its_words() -> None:
    def refusing(candidate: Candidate) -> list[Result]:
        raise UserError("not with L-BFGS")

    (result,) = flown(Check("refusing", "code", refusing)).results
    assert (result.outcome, result.found) == ("skipped", "not with L-BFGS")


def test_of_a_loop_of_the_users_own_data_and_space_are_checked() -> None:
    def own(trial: optuna.Trial, data: Data) -> Iterator[dict[str, float]]:
        trial.suggest_float("lr", 1e-3, 1.0, log=True)
        return iter([{"loss/valid": 0.0}])

    report = flown(recipe=own, points=[{"lr": 0.1}])
    outcomes = {result.check: result for result in report.results}
    assert report.passed
    assert outcomes["overfitting"].outcome == "skipped"
    assert "loop of your own cannot be looked into" in outcomes["overfitting"].found
    for name in ("leaks", "scales", "building"):
        assert outcomes[name].outcome == "passed", name


@pytest.mark.slow
def test_random_states_and_threads_are_left_as_they_were() -> None:
    def draws() -> list[float]:
        return [random.random(), float(np.random.rand()), float(torch.rand(()))]

    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    threads = torch.get_num_threads()
    untouched = draws()
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    with undisturbed(threads + 1):
        assert torch.get_num_threads() == threads + 1
        flown()
    assert draws() == untouched
    assert torch.get_num_threads() == threads
