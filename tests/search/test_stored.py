"""Stored studies: continued as they were, refused where they would be another search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from nnstudy import Recipe, Split, Study
from nnstudy.data import Data, Source
from nnstudy.errors import UserError
from nnstudy.search.plan import PLAN_VERSION, Plan, is_planned
from nnstudy.search.storage import open_storage
from nnstudy.search.stored import load_stage, require_stages, stored_stages, validations
from nnstudy.study import Stage
from tests.launching import Place, blobs, make_place, network, recipe, toy


@pytest.fixture
def stored(place: Place) -> Place:
    place.launch(toy(trials=1, epochs=1))
    return place


@pytest.fixture(scope="module")
def untouched(fresh_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A stored study for tests that change nothing."""
    place = make_place(tmp_path_factory.mktemp("stored") / "place", fresh_mlflow)
    place.launch(toy(trials=1, epochs=1))
    return place


def other_space(trial: optuna.Trial, data: Data) -> Recipe:
    lr = trial.suggest_float("lr", 1e-3, 2.0, log=True)
    trial.suggest_int("units", 2, 16)
    trial.suggest_float("dropout", 0, 0.5)
    return Recipe(network=network(data), optimizer=partial(torch.optim.SGD, lr=lr))


def other_data() -> Source:
    return blobs(151)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            lambda: toy(other_space, trials=1, epochs=1),
            [
                "lr: was 0.001..1 (log), is now 0.001..2 (log)",
                "dropout: new, 0..0.5",
                "batch_size: no longer asked for",
            ],
        ),
        (
            lambda: toy(trials=1, epochs=1, metric="loss/valid"),
            [
                "metric: was accuracy/valid, is now loss/valid",
                "direction: was maximize, is now minimize",
            ],
        ),
        (
            lambda: toy(trials=1, epochs=1, direction="minimize"),
            ["direction: was maximize, is now minimize"],
        ),
        (lambda: toy(trials=1, epochs=2), ["epochs: was 1, is now 2"]),
        (lambda: toy(trials=1, epochs=1, seed=3), ["seed: was 0, is now 3"]),
        (lambda: toy(trials=1, epochs=1, split=Split(validation=0.3)), ["split: was"]),
        (
            lambda: replace(toy(trials=1, epochs=1), data=other_data),
            ["data: the examples are not the same"],
        ),
    ],
    ids=["space", "metric", "direction", "epochs", "seed", "split", "data"],
)
def test_a_changed_search_is_refused_with_what_changed_and_nothing_is_touched(
    untouched: Place, changed: Callable[[], Study], said: list[str]
) -> None:
    before = untouched.dump()
    with pytest.raises(UserError, match="the stored study 'toy/search' differs") as raised:
        untouched.launch(changed())
    for words in said:
        assert words in str(raised.value)
    assert "--name toy-2" in str(raised.value)
    assert untouched.dump() == before


def test_the_same_search_under_another_name_is_another_study(stored: Place) -> None:
    result = stored.launch(toy(other_space, trials=1, epochs=1), name="toy-2")
    assert (result.study, result.complete) == ("toy-2", True)
    assert len(stored.trials()) == 1


STUDY_FILE = """
from functools import partial
import torch
from layers import network
from nnstudy import Recipe, Stage, Study
from tests.launching import blobs

def recipe(trial, data):
    lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
    return Recipe(network=network(data), optimizer=partial(torch.optim.SGD, lr=lr))

study = Study("toy", recipe, data=blobs, stages=[Stage(trials=1, epochs=1)])
"""

LAYERS = """
from torch import nn

def network(data):
    return nn.Linear(data.shape[0], data.outputs)
"""


def test_changed_sources_are_only_warned_about_with_the_files_names(
    place: Place, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(STUDY_FILE)
    (tmp_path / "layers.py").write_text(LAYERS)
    place.launch("mine.py")
    assert place.texts("warning") == []

    (tmp_path / "layers.py").write_text(LAYERS + "\n# another comment\n")
    result = place.launch("mine.py", trials=2)

    assert result.finished == 2
    assert place.texts("warning") == ["since 'toy/search' was launched first: layers.py changed"]
    # It is told once.
    place.events.clear()
    place.launch("mine.py")
    assert place.texts("warning") == []


def test_sampler_and_pruner_are_remembered_with_the_study(place: Place) -> None:
    options: dict[str, Any] = {"sampler_options": {"n_startup_trials": 1}}
    place.launch(toy(trials=1, epochs=1), sampler="tpe", pruner="hyperband", **options)
    place.launch(toy(trials=1, epochs=1), trials=2)

    plan = Plan.of(place.study())
    assert plan.sampler == {"name": "tpe", "options": {"n_startup_trials": 1}}
    assert plan.pruner == {"name": "hyperband", "options": {}}

    place.launch(toy(trials=1, epochs=1), sampler="random", trials=2)
    assert Plan.of(place.study()).sampler == {"name": "random", "options": {}}


def test_samplers_and_pruners_that_are_objects_are_taken_from_the_study(place: Place) -> None:
    class Fixed(optuna.samplers.RandomSampler):
        def sample_independent(self, study: Any, trial: Any, name: str, asked: Any) -> Any:
            return {"lr": 0.1, "units": 5, "batch_size": 16}[name]

    class Never(optuna.pruners.NopPruner):
        def prune(self, study: Any, trial: Any) -> bool:
            asked.append(trial.number)
            return False

    asked: list[int] = []
    study = toy(trials=2, epochs=2, sampler=Fixed(), pruner=Never())
    place.launch(study)

    assert [t.params["units"] for t in place.trials()] == [5, 5]
    assert asked == [0, 1]
    assert Plan.of(place.study()).sampler["class"].endswith("Fixed")


def test_the_plan_is_stored_as_it_is(untouched: Place) -> None:
    plan = Plan.of(untouched.study())
    assert (plan.name, plan.trials, plan.epochs) == ("toy/search", 1, 1)
    assert plan.data["name"] == "blobs"
    assert plan.key == f"toy/search/{plan.uid}"
    assert plan.parsed_space().numeric == ["lr", "units"]
    assert is_planned(untouched.study().user_attrs)


def test_a_study_of_another_program_is_named(stored: Place) -> None:
    storage = open_storage(stored.storage)
    optuna.create_study(study_name="theirs/search", storage=storage).add_trial(
        optuna.trial.create_trial(value=1.0)
    )
    with pytest.raises(UserError, match="'theirs/search' was not made by nnstudy"):
        stored.launch(replace(toy(), name="theirs"))


def test_a_study_of_a_newer_version_is_refused(stored: Place) -> None:
    study = stored.study()
    study.set_user_attr("nnstudy", {**study.user_attrs["nnstudy"], "version": PLAN_VERSION + 1})
    with pytest.raises(UserError, match="made by a newer nnstudy; upgrade"):
        Plan.of(stored.study())


def test_stored_stages_come_in_their_order(place: Place) -> None:
    stages = [Stage("zuerst", trials=1, epochs=1), Stage("danach", trials=1, epochs=1)]
    place.launch(Study("toy", recipe, data=blobs, stages=stages))
    storage = open_storage(place.storage)
    assert [stage.plan.stage for stage in stored_stages(storage)] == ["zuerst", "danach"]
    assert [stage.plan.stage for stage in require_stages(storage, "toy")] == ["zuerst", "danach"]
    assert load_stage(storage, "toy/none") is None
    with pytest.raises(UserError, match="no study 'toi' is stored here; stored are: toy"):
        require_stages(storage, "toi")


@pytest.mark.parametrize(
    ("epochs", "every", "steps"), [(3, None, 3), (0.5, None, 1), (2, 50, 4), (1.5, 50, 3)]
)
def test_the_largest_step_follows_from_epochs_and_validations(
    untouched: Place, epochs: float, every: int | None, steps: int
) -> None:
    plan = replace(Plan.of(untouched.study()), epochs=epochs, validate_every=every)
    assert validations(plan, examples=100) == steps
