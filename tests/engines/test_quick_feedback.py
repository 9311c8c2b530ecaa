"""Quick looks at real studies: what is found, what is written, and what is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow.entities
import optuna
import pytest
import torch
from torch import nn

from nnstudy import OwnLoop, Recipe, Study, datasets, losses
from nnstudy.data import Data, Source, Subset
from nnstudy.engines import QuickResult, quick
from nnstudy.errors import UserError
from nnstudy.search.events import Event
from nnstudy.tracking import Tracker
from tests.launching import Place, recipe, toy

STUDIES = Path(__file__).resolve().parents[2] / "studies"
FEW = {"epochs": 3}


def look(place: Place, study: Study | str, **options: Any) -> QuickResult:
    given = {**FEW, **place.options(), **options}
    return quick(study, emit=place.events.append, **given)


def runs_of(place: Place, name: str = "toy") -> tuple[mlflow.entities.Run, list[Any]]:
    runs = place.all_runs(name)
    (parent,) = (run for run in runs if run.data.tags["nnstudy.kind"] == "quick")
    children = [run for run in runs if run.data.tags["nnstudy.kind"] == "quick training"]
    children.sort(key=lambda run: int(run.data.params["trial/number"]))
    assert len(runs) == 1 + len(children)
    return parent, children


def shuffled(seed: int) -> Source:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(600, 5, generator=generator)
    return datasets.tensors(inputs, torch.randint(0, 2, (600,), generator=generator), name="noise")


def test_digits_are_learned_by_both_models(place: Place) -> None:
    found = look(place, str(STUDIES / "digits.py"))
    assert found.better is True
    assert [learner.better for learner in found.learners] == [True, True]
    assert found.classes == ("0", "1")
    assert found.valid_examples + found.judged_examples == 44
    assert found.recipe.best.params == {
        "units": 16,
        "depth": 1,
        "lr": 0.01,
        "momentum": 0.9,
        "weight_decay": pytest.approx(1e-3),
        "batch_size": 32,
    }
    assert found.recipe.weights == 65 * 16 + 17 * 2
    assert found.conclusion() == "the recipe learns"
    assert [command for command, _ in found.next_steps()] == ["check"]


def test_each_training_is_a_run_with_its_curve_below_one_parent_and_optuna_hears_nothing(
    place: Place,
) -> None:
    found = look(place, toy(), seed=3)
    parent, children = runs_of(place)
    assert parent.info.run_id == found.run_id
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "quick")
    assert parent.data.params["examples"] == str(found.examples)
    assert parent.data.params["seed"] == "3"
    assert found.linear.told() in parent.data.tags["mlflow.note.content"]
    expected = [(learner.name, run) for learner in found.learners for run in learner.runs]
    assert len(children) == len(expected)
    client = Tracker(place.tracking_uri).client
    for child, (name, run) in zip(children, expected, strict=True):
        assert child.data.tags["mlflow.parentRunId"] == found.run_id
        assert child.data.params["model"] == name
        assert float(child.data.params["rate"]) == pytest.approx(run.rate)
        curve = client.get_metric_history(child.info.run_id, "loss/valid")
        assert [p.value for p in curve] == [r.values["loss/valid"] for r in run.course.records]
    assert not (place.directory / "optuna.db").exists()
    # A second look is another run; a launch afterwards knows neither.
    look(place, toy())
    place.launch(toy(trials=1, epochs=1))
    assert len(place.trials()) == 1
    kinds = [run.data.tags["nnstudy.kind"] for run in place.all_runs()]
    assert (kinds.count("quick"), kinds.count("stage"), kinds.count("trial")) == (2, 1, 1)


def test_validations_are_told_one_by_one_and_rates_lie_a_factor_ten_apart(place: Place) -> None:
    found = look(place, toy(), validate_every=20, epochs=1)
    told = [event.values for event in place.events if event.kind == "quick"]
    validations = [len(run.course.records) for each in found.learners for run in each.runs]
    assert len(told) == sum(validations)
    assert max(validations) == -(-found.examples // 20)
    rates = [run.rate for run in found.recipe.runs]
    middle = 10**-1.5
    assert rates == [pytest.approx(middle * factor) for factor in (1, 0.1, 10)]
    assert {values["model"] for values in told} == {"linear softmax", "recipe"}


@pytest.mark.slow
def test_the_same_look_finds_the_same(place: Place) -> None:
    first, second = look(place, toy()), look(place, toy())
    assert [learner.verdict for learner in first.learners] == [
        learner.verdict for learner in second.learners
    ]
    other = look(place, toy(), seed=1)
    assert other.recipe.best.course.records[0].values != (
        first.recipe.best.course.records[0].values
    )


def test_regression_is_compared_with_the_mean(place: Place) -> None:
    found = look(place, str(STUDIES / "diabetes.py"), epochs=20)
    assert found.classes == ()
    assert found.linear.name == "linear regression"
    for learner in found.learners:
        assert learner.verdict is not None
        assert learner.verdict.measure == "squared errors"
        assert learner.verdict.high < 1
    assert any("L-BFGS" in note for note in found.notes)
    assert len(found.recipe.runs) == 1


def test_a_recipe_that_does_not_learn_what_a_linear_model_does_is_found_out(place: Place) -> None:
    class Blind(nn.Sequential):
        def forward(self, inputs: torch.Tensor) -> Any:
            return super().forward(inputs * 0)

    def blind(trial: optuna.Trial, data: Data) -> Recipe:
        made = recipe(trial, data)
        made.network = Blind(made.network)
        return made

    found = look(place, toy(blind), subset=Subset((0, 1)))
    assert (found.linear.better, found.recipe.better) == (True, False)
    assert found.conclusion() == "there is something to learn, and the recipe does not learn it"
    assert [command for command, _ in found.next_steps()] == ["lr-find", "check"]
    assert len(found.recipe.runs) == 3


@pytest.mark.slow
def test_shuffled_labels_are_hardly_ever_called_learned(place: Place) -> None:
    alarms = 0
    for seed in range(8):
        study = replace(toy(seed=seed), data=partial(shuffled, seed))
        found = look(place, study, epochs=2)
        assert found.better is not None
        alarms += found.better
    assert alarms <= 1


def test_too_few_examples_are_said_to_be(place: Place) -> None:
    found = look(place, toy(), subset=Subset(valid_examples=3))
    assert (found.valid_examples, found.judged_examples) == (3, 3)
    assert found.better is None
    assert "--valid-examples" in found.cannot_tell()[0]
    assert found.conclusion() == "it cannot be said whether anything learns"


class Loop:
    """Softmax regression by hand, which reports its accuracy."""

    def __init__(self, data: Data, lr: float, measure: str = "accuracy/valid") -> None:
        self._data, self._lr, self._measure = data, lr, measure

    def __iter__(self) -> Iterator[Mapping[str, float]]:
        network = nn.Linear(4, self._data.outputs)
        optimizer = torch.optim.SGD(network.parameters(), lr=self._lr)
        while True:
            for inputs, targets in self._data.train.minibatches(8):
                optimizer.zero_grad()
                losses.cross_entropy(network(inputs), targets).backward()
                optimizer.step()
            inputs, targets = next(self._data.validation.minibatches(10_000))
            outputs = network(inputs)
            yield {
                "loss/valid": losses.cross_entropy(outputs, targets).item(),
                self._measure: (outputs.argmax(1) == targets).float().mean().item(),
            }


def test_a_loop_of_ones_own_is_judged_by_what_it_reports(place: Place) -> None:
    seen: list[tuple[int, float]] = []

    def own(trial: optuna.Trial, data: Data) -> OwnLoop:
        units, lr = trial.suggest_int("units", 3, 9), trial.suggest_float("lr", 0.01, 0.05)
        seen.append((units, lr))
        return OwnLoop(epochs=Loop(data, lr))

    found = look(place, toy(own), subset=Subset((0, 1)), epochs=10)
    learner = found.recipe
    assert learner.verdict is not None
    assert learner.verdict.examples == found.valid_examples
    best = max(r.values["accuracy/valid"] for run in learner.runs for r in run.course.records)
    assert learner.verdict.value == pytest.approx(best)
    # Corrected for all that was looked at.
    assert learner.verdict.low < 1 - 0.025 ** (1 / found.valid_examples)
    assert {units for units, _ in seen[1:]} == {3}
    rates = [0.03, 0.01, 0.05]  # a tenth and ten times lie outside the range
    assert [run.rate for run in learner.runs] == pytest.approx(rates[: len(learner.runs)])
    assert any("a training loop of its own" in note for note in found.notes)


def test_a_loop_that_reports_no_accuracy_is_not_judged(place: Place) -> None:
    def own(trial: optuna.Trial, data: Data) -> Loop:
        return Loop(data, 0.1, "score")

    found = look(place, toy(own, metric="loss/valid"))
    assert found.recipe.verdict is None
    assert found.recipe.told() == (
        "not judged: it reports no accuracy/valid, and chance is not known of other numbers"
    )
    assert any("no parameter of it is called a rate" in note for note in found.notes)


def _raises(trial: optuna.Trial, data: Data) -> Recipe:
    raise ValueError("no such thing")


def _gives_up(trial: optuna.Trial, data: Data) -> Recipe:
    raise optuna.TrialPruned


def _misfit(trial: optuna.Trial, data: Data) -> Recipe:
    return Recipe(network=nn.Linear(7, 2), optimizer=partial(torch.optim.SGD, lr=0.1))


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (_raises, "fails: ValueError: no such thing"),
        (_gives_up, r"gives up \(TrialPruned\)"),
        (_misfit, "does not take inputs of shape"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_told_with_its_error(
    broken: Any, told: str, place: Place
) -> None:
    with pytest.raises(UserError, match=told):
        look(place, toy(broken))
    running = [run for run in place.all_runs() if run.info.status == "RUNNING"]
    assert running == []


def test_ctrl_c_ends_the_run(place: Place) -> None:
    def hear(event: Event) -> None:
        if event.kind == "quick":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(toy(), emit=hear, **place.options())
    (run,) = place.all_runs()
    assert run.info.status == "KILLED"


@pytest.mark.slow
def test_random_state_and_files_are_left_alone(place: Place) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    look(place, toy())
    assert torch.equal(torch.rand(1), expected)
    with closing(sqlite3.connect(place.directory / "mlflow.db")) as database:
        (count,) = database.execute("select count(*) from runs").fetchone()
    assert count >= 3
    assert not place.checkpoints.exists()
