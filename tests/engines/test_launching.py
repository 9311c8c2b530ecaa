"""Whole launches: budgets, stages, samplers, pruners, spaces."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState

from nnstudy import Recipe, Stage, Study
from nnstudy.data import Data
from nnstudy.search import requests
from nnstudy.search.plan import Plan
from nnstudy.search.storage import open_storage
from tests.launching import InterruptAt, Place, blobs, make_place, network, recipe, toy


def test_launching_again_goes_on_to_the_total_and_never_beyond(place: Place) -> None:
    first = place.launch(toy(trials=2, epochs=1))
    assert (first.finished, first.trials, first.complete) == (2, 2, True)
    before = [trial.params for trial in place.trials()]

    nothing = place.launch(toy(trials=2, epochs=1))
    assert (nothing.finished, nothing.best) == (2, first.best)

    place.events.clear()
    more = place.launch(toy(trials=2, epochs=1), trials=4)
    assert (more.finished, more.trials) == (4, 4)
    assert [trial.number for trial in place.trials()] == [0, 1, 2, 3]
    assert [trial.params for trial in place.trials()][:2] == before
    (cost,) = (event.values for event in place.events if event.kind == "cost")
    assert (cost["trials"], cost["epochs"]) == (2, 2)

    # Without --trials the stored total counts, and a smaller one takes nothing away.
    assert place.launch(toy(trials=2, epochs=1)).trials == 4
    assert place.launch(toy(trials=2, epochs=1), trials=3).finished == 4
    assert len(place.trials()) == 4


def test_a_study_of_which_all_is_done_runs_nothing(place: Place) -> None:
    place.launch(toy(trials=2, epochs=1))
    trials, curves = place.trials(), place.curves(1)
    place.events.clear()

    result = place.launch(toy(trials=2, epochs=1))

    assert result.complete
    assert place.trials() == trials
    assert place.curves(1) == curves
    assert not [event for event in place.events if event.kind in ("trial", "epoch", "end")]
    assert place.stage_run().info.status == "FINISHED"


def staged() -> Study:
    stages = [
        Stage("coarse", trials=4, epochs=1, sampler="random"),
        Stage("fine", trials=2, epochs=2, sampler="tpe"),
    ]
    return Study("toy", recipe, data=blobs, stages=stages, start={"lr": 0.1})


def test_stages_run_one_after_the_other_and_scale_their_shares(place: Place) -> None:
    result = place.launch(staged(), trials=3)

    assert (result.finished, result.trials, result.stage) == (3, 3, "fine")
    assert len(place.trials("toy/coarse")) == 2
    assert len(place.trials("toy/fine")) == 1
    assert {len(place.curves(0, stage)["loss/valid"]) for stage in ("coarse", "fine")} == {1, 2}
    # Starts belong to the first stage.
    assert place.trials("toy/coarse")[0].params["lr"] == 0.1
    assert place.trials("toy/fine")[0].params["lr"] != 0.1
    begun = [(e.kind, e.values["stage"]) for e in place.events if e.kind in ("stage", "end")]
    assert begun == [
        ("stage", "coarse"),
        *[("end", "coarse")] * 2,
        ("stage", "fine"),
        ("end", "fine"),
    ]

    more = place.launch(staged(), trials=6)
    assert (more.finished, more.trials) == (6, 6)
    assert len(place.trials("toy/coarse")) == 4
    assert len(place.trials("toy/fine")) == 2


@pytest.mark.slow
def test_an_interrupted_stage_keeps_the_next_one_waiting(place: Place) -> None:
    at_first = InterruptAt(trial=0)
    result = place.launch(staged(), hear=at_first, interruption=at_first.interruption)
    assert (result.finished, result.stage) == (0, None)
    assert [event.values["stage"] for event in place.events if event.kind == "stage"] == ["coarse"]
    assert place.launch(staged()).finished == 6


def test_start_points_are_tried_first_in_their_order(place: Place) -> None:
    start = [{"lr": 0.5, "units": 3, "batch_size": 16}, {"lr": 0.25}]
    place.launch(toy(trials=3, epochs=1, start=start))
    params = [trial.params for trial in place.trials()]
    assert params[0] == start[0]
    assert params[1]["lr"] == 0.25
    # Going on does not try them again.
    place.launch(toy(trials=3, epochs=1, start=start), trials=4)
    assert [trial.params["lr"] for trial in place.trials()].count(0.5) == 1


def test_an_enqueued_point_is_tried_next(place: Place) -> None:
    place.launch(toy(trials=1, epochs=1))
    requests.enqueue(place.study(), {"lr": 0.75})
    place.launch(toy(trials=1, epochs=1), trials=2)
    assert place.trials()[1].params["lr"] == 0.75


def conditional(trial: optuna.Trial, data: Data) -> Recipe:
    lr = trial.suggest_float("lr", 1e-3, 0.1, log=True)
    if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
        momentum = trial.suggest_float("momentum", 0.5, 0.9)
        optimizer: Any = partial(torch.optim.SGD, lr=lr, momentum=momentum)
    else:
        beta = trial.suggest_float("beta2", 0.9, 0.999)
        optimizer = partial(torch.optim.Adam, lr=lr, betas=(0.9, beta))
    return Recipe(network=network(data), optimizer=optimizer)


def test_conditional_parameters_belong_to_the_trials_that_asked_for_them(place: Place) -> None:
    start = [{"optimizer": "sgd"}, {"optimizer": "adam"}]
    result = place.launch(toy(conditional, trials=4, epochs=1, start=start))
    assert result.endings == {"complete": 4}
    for trial in place.trials():
        own = {"sgd": "momentum", "adam": "beta2"}[trial.params["optimizer"]]
        assert set(trial.params) == {"lr", "optimizer", own}
        assert set(place.run(trial.number).data.params) == {
            *trial.params,
            "log10_lr",
            "trial/number",
        }
    space = Plan.of(place.study()).parsed_space()
    assert sorted(space.conditional) == ["beta2", "momentum"]


# -- Samplers and pruners -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        pytest.param("random", {}, marks=pytest.mark.slow),
        ("tpe", {"n_startup_trials": 1}),
        pytest.param("qmc", {}, marks=pytest.mark.slow),
        pytest.param("cmaes", {"n_startup_trials": 1}, marks=pytest.mark.slow),
        pytest.param("gp", {"n_startup_trials": 1}, marks=pytest.mark.slow),
    ],
)
def test_every_sampler_comes_to_the_end(
    place: Place, sampler: str, options: dict[str, Any]
) -> None:
    study = toy(trials=3, epochs=1, sampler=sampler, sampler_options=options)
    assert place.launch(study).endings == {"complete": 3}
    assert len({trial.params["lr"] for trial in place.trials()}) == 3


def test_a_grid_has_exactly_its_points_and_then_ends(place: Place) -> None:
    points = {"lr": 2, "units": 1}
    study = toy(trials=100, epochs=1, sampler="grid", sampler_options={"points": points})
    result = place.launch(study)

    assert "the grid of stage 'search' has 4 points" in place.texts("message")
    assert (result.finished, result.trials, result.complete) == (4, 4, True)
    assert len({tuple(sorted(trial.params.items())) for trial in place.trials()}) == 4
    assert {trial.params["lr"] for trial in place.trials()} == {0.001, 1.0}

    assert place.launch(study, trials=50).finished == 4


def steady(trial: optuna.Trial, data: Data) -> Recipe:
    lr = trial.suggest_float("lr", 1e-6, 0.3, log=True)
    return Recipe(network=network(data), optimizer=partial(torch.optim.SGD, lr=lr), batch_size=16)


@pytest.mark.parametrize(
    ("pruner", "options"),
    [
        ("hyperband", {"reduction_factor": 2}),
        ("successive-halving", {"reduction_factor": 2}),
        pytest.param("percentile", {"n_startup_trials": 1}, marks=pytest.mark.slow),
        pytest.param("threshold", {"lower": 0.5}, marks=pytest.mark.slow),
        pytest.param(
            "patient",
            {"patience": 1, "wrapped_options": {"n_startup_trials": 1}},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_pruner_prunes_and_comes_to_the_end(
    place: Place, pruner: str, options: dict[str, Any]
) -> None:
    start = [{"lr": lr} for lr in (0.2, 0.1, 1e-6, 2e-6)]
    study = toy(steady, trials=6, epochs=4, pruner=pruner, pruner_options=options, start=start)
    result = place.launch(study)
    assert result.finished == 6
    assert result.endings["pruned"] >= 1
    assert result.endings["complete"] >= 1
    for trial in place.trials():
        told = len(place.curves(trial.number)["loss/valid"])
        assert told == max(trial.intermediate_values)
        assert (told == 4) or trial.state is TrialState.PRUNED


# -- Databases ------------------------------------------------------------------------------


def test_half_the_trials_then_the_rest_on_any_database(
    fresh_mlflow: Any, tmp_path: Any, any_storage_url: str
) -> None:
    place = make_place(tmp_path / "place", fresh_mlflow, any_storage_url)
    study = toy(trials=4, epochs=3)
    at_third = InterruptAt(trial=2)

    half = place.launch(study, hear=at_third, interruption=at_third.interruption)
    assert (half.finished, half.trials, half.complete) == (2, 4, False)
    assert place.trials()[2].state is TrialState.RUNNING
    assert place.stage_run().info.status == "KILLED"

    whole = place.launch(study)
    assert (whole.finished, whole.trials, whole.complete) == (4, 4, True)
    assert place.stage_run().info.status == "FINISHED"
    assert [trial.number for trial in place.trials()] == [0, 1, 2, 3]
    assert {len(place.curves(number)["loss/valid"]) for number in range(4)} == {3}
    assert "***" in whole.storage or whole.storage.startswith("sqlite")


@pytest.mark.postgres
@pytest.mark.slow
def test_two_workers_on_postgres_keep_to_the_budget(
    new_place: Callable[[str], Place], postgres_url: str
) -> None:
    place = new_place("here")
    place.storage = postgres_url
    result = place.launch(toy(trials=8, epochs=1), workers=2)
    assert result.endings == {"complete": 8}
    assert [trial.number for trial in place.trials()] == list(range(8))
    assert len(open_storage(postgres_url).get_all_studies()) == 1
