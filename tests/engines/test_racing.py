"""Races: who races on what, one real one with an interruption, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from torch import nn

from nnstudy import Recipe, Stage, Study, UserError
from nnstudy.data import Data
from nnstudy.engines import LaunchOptions, Race, race
from nnstudy.engines.arms import choose_field, racing_study
from nnstudy.report import study_status
from nnstudy.search.events import Emit, Event
from nnstudy.search.interruption import Interruption
from nnstudy.search.stage_opening import open_stage
from nnstudy.search.storage import open_storage
from nnstudy.search.stored import require_stages
from nnstudy.tracking import Tracker
from tests.launching import Place, recipe, toy


def hold(
    place: Place,
    study: Study,
    *,
    hear: Emit = lambda event: None,
    interruption: Interruption | None = None,
    **options: Any,
) -> Race:
    """Races with two workers, without pre-flight; the events are collected."""

    def emit(event: Event) -> None:
        place.events.append(event)
        hear(event)

    return race(
        study,
        emit=emit,
        interruption=interruption,
        output=place.directory / "race",
        **{"workers": 2, "preflight": False, **place.options(), **options},
    )


def staged() -> Study:
    return toy(
        stages=[
            Stage("coarse", trials=9, epochs=1, sampler="random"),
            Stage("fine", trials=4, epochs=2, sampler="tpe", sampler_options={"group": False}),
        ],
        start={"lr": 0.1},
    )


def racing(study: Study, **options: Any) -> Study:
    field = choose_field(study, [], ("random", "tpe"), 2, {})
    return racing_study(study, "toy-race", field, [], LaunchOptions(**options))


def test_all_searches_are_alike_but_for_the_sampler_and_come_seed_by_seed() -> None:
    study = racing(staged())
    assert [stage.name for stage in study.stages] == ["random-0", "tpe-0", "random-1", "tpe-1"]
    assert {(stage.trials, stage.epochs, stage.pruner) for stage in study.stages} == {
        (4, 2, "median")
    }
    assert study.stages[0].sampler_options == {}
    assert study.stages[1].sampler_options == {"group": False}
    assert study.start_points == []
    assert study.name == "toy-race"


def test_a_race_has_the_trials_and_the_pruner_that_are_asked_for() -> None:
    study = racing(staged(), trials=7, pruner="hyperband", pruner_options={"reduction_factor": 4})
    assert {stage.trials for stage in study.stages} == {7}
    assert {stage.pruner for stage in study.stages} == {"hyperband"}
    assert study.stages[0].pruner_options == {"reduction_factor": 4}


@pytest.mark.slow
def test_an_interrupted_race_goes_on_and_is_told_once_it_is_complete(place: Place) -> None:
    interruption = Interruption()

    def stop_after_a_trial(event: Event) -> None:
        if event.kind == "end":
            interruption.request()

    asked = {"samplers": ["random", "tpe"], "seeds": 2, "workers": 1}
    study = toy(start={"lr": 0.123})
    first = hold(place, study, hear=stop_after_a_trial, interruption=interruption, **asked)
    assert not first.complete
    assert 1 <= first.finished < first.trials == 12
    assert first.result is None
    begun = {
        (arm.study_name, trial.number): trial.params
        for arm in arms(place)
        for trial in arm.trials
        if trial.params
    }

    done = hold(place, study)  # who races is remembered

    assert done.complete
    assert (done.searches, done.finished) == (4, 12)
    assert done.result is not None
    assert [c.sampler for c in done.result.contenders] == ["random", "tpe"]
    stored = {(arm.study_name, t.number): t.params for arm in arms(place) for t in arm.trials}
    assert len(stored) == 12
    assert begun.items() <= stored.items()
    assert len({params["lr"] for params in stored.values()}) == 12  # no two draw alike
    assert all(params["lr"] != 0.123 for params in stored.values())  # nobody is given the start
    ended = Counter(
        (event.values["stage"], event.values["trial"])
        for event in place.events
        if event.kind == "end"
    )
    assert set(ended.values()) == {1}

    directory = place.directory / "race"
    written = json.loads((directory / "race.json").read_text())
    assert written == json.loads(json.dumps(done.result.to_dict()))
    assert (directory / "race.png").read_bytes().startswith(b"\x89PNG")
    (run,) = race_runs(place)
    assert run.info.status == "FINISHED"
    assert "| random |" in run.data.tags["mlflow.note.content"]
    files = {
        file.path for file in Tracker(place.tracking_uri).client.list_artifacts(run.info.run_id)
    }
    assert files == {"race.json", "race.png"}

    place.events.clear()
    again = hold(place, study)
    assert again.result == done.result
    assert not [event for event in place.events if event.kind in ("trial", "end")]
    assert len(race_runs(place)) == 1
    stages = study_status(open_storage(place.storage))
    assert [(stage.study, stage.race) for stage in stages] == [("toy-race", True)] * 4


def arms(place: Place) -> list[optuna.Study]:
    storage = open_storage(place.storage)
    names = optuna.get_all_study_names(storage)
    return [optuna.load_study(study_name=name, storage=storage) for name in names]


def race_runs(place: Place) -> list[Any]:
    runs = place.all_runs("toy-race")
    return [run for run in runs if run.data.tags["nnstudy.kind"] == "race"]


def only_choices(trial: optuna.Trial, data: Data) -> Recipe:
    units = trial.suggest_categorical("units", [2, 4])
    network = nn.Sequential(nn.Linear(4, units), nn.Linear(units, 3))
    return Recipe(network, optimizer=lambda p: torch.optim.SGD(p, lr=0.1))


def two_ranges(trial: optuna.Trial, data: Data) -> Recipe:
    kind = trial.suggest_categorical("kind", ["slow", "fast"])
    trial.suggest_float("momentum", 0, 0.5 if kind == "slow" else 0.9)
    return Recipe(nn.Linear(4, 3), optimizer=lambda p: torch.optim.SGD(p, lr=0.1))


@pytest.mark.parametrize(
    ("study", "options", "expected"),
    [
        (toy(), {"samplers": ["tpe", "tbe"]}, "Unknown sampler 'tbe'. Did you mean tpe?"),
        (toy(), {"samplers": ["tpe"]}, "two samplers at least, got tpe"),
        (toy(), {"samplers": ["tpe", "tpe"]}, "named twice"),
        (toy(), {"samplers": ["tpe", optuna.samplers.RandomSampler()]}, "Unknown sampler"),
        (toy(), {"seeds": 1}, "two seeds at least, got 1"),
        (toy(), {"sampler_options": {"gp": {}}}, "given for gp, which does not race"),
        (toy(), {"sampler_options": {"tpe": {"grup": True}}}, "no option 'grup'"),
        (toy(only_choices), {"samplers": ["random", "cmaes"]}, "cmaes moves numbers only"),
        (toy(two_ranges), {"samplers": ["random", "grid"]}, "one range for each parameter"),
        (toy(pruner=optuna.pruners.NopPruner()), {}, "--pruner"),
        (toy(), {"name": "a/b"}, "cannot be the name"),
        (toy(), {"engine": "ray"}, "local workers"),
        (toy(), {"sampler": "tpe"}, "samplers of its own"),
        (toy(), {"trials": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_nothing_is_stored(
    study: Study, options: dict[str, Any], expected: str, place: Place
) -> None:
    with pytest.raises(UserError, match=expected):
        hold(place, study, **options)
    assert not (place.directory / "optuna.db").exists()
    assert not race_runs(place)


def test_a_directory_that_cannot_be_made_is_refused_before_the_race(
    place: Place, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written to .*--output"):
        race(toy(), output=tmp_path / "file" / "race", preflight=False, **place.options())
    assert not [event for event in place.events if event.kind == "cost"]


def stored_race(place: Place, **options: Any) -> None:
    """Stores a race of which no search has begun."""
    interruption = Interruption()
    interruption.requested = True
    done = hold(place, toy(), interruption=interruption, **options)
    assert not done.complete
    assert done.result is None


def test_a_stored_race_keeps_its_budget_its_samplers_and_its_kind(place: Place) -> None:
    stored_race(place, samplers=["grid", "random"], trials=5, seeds=2)
    stages = study_status(open_storage(place.storage), "toy-race")
    assert [(stage.stage, stage.trials) for stage in stages] == [
        *(("grid-0", 5), ("random-0", 5)),
        *(("grid-1", 5), ("random-1", 5)),
    ]
    texts = place.texts("message")
    assert (
        "a grid of lr 2 x units 2 x batch_size 2 = 8 points; 5 of them in a seeded order" in texts
    )
    assert len([text for text in texts if "grid" in text]) == 1

    with pytest.raises(UserError, match=r"(?s)trials: was 5, is now 6.*nnstudy race .* --name"):
        hold(place, toy(), trials=6)
    with pytest.raises(UserError, match=r"pruner: was .*none.*, is now .*median"):
        hold(place, toy(), pruner="median")
    with pytest.raises(UserError, match=r"sampler: was .* is now .*'points': 3"):
        hold(place, toy(), sampler_options={"grid": {"points": 3}})
    with pytest.raises(UserError, match="'toy-race' is a race"):
        place.launch(toy(), name="toy-race")
    # What is not said again is as it was, and more of the same may join.
    stored_race(place, samplers=["grid", "random", "tpe"], seeds=3)
    stages = study_status(open_storage(place.storage), "toy-race")
    assert len(stages) == 9
    assert {stage.trials for stage in stages} == {5}


def test_a_grid_with_fewer_points_than_trials_says_when_it_ends(place: Place) -> None:
    interruption = Interruption()
    interruption.requested = True
    hold(
        place,
        toy(only_choices, trials=4),
        samplers=["random", "grid"],
        seeds=2,
        interruption=interruption,
    )
    (text,) = (text for text in place.texts("message") if "grid" in text)
    assert text == (
        "a grid of units 2 = 2 points; all of them in a seeded order. There are no more, so its"
        " searches end after 2 trials"
    )
    trials = {s.stage: s.trials for s in study_status(open_storage(place.storage), "toy-race")}
    assert trials == {"random-0": 4, "grid-0": 2, "random-1": 4, "grid-1": 2}


def test_a_grid_has_one_value_of_what_its_stage_holds(place: Place) -> None:
    interruption = Interruption()
    interruption.requested = True
    study = toy(stages=[Stage(trials=4, epochs=1, pruner="none", hold={"units": 4})])
    hold(place, study, samplers=["random", "grid"], seeds=2, interruption=interruption)
    (text,) = (text for text in place.texts("message") if "grid" in text)
    assert text.startswith("a grid of lr 2 x units 1 x batch_size 2 = 4 points; all of them")


def test_a_worker_that_loads_the_study_gives_no_search_its_start(place: Place) -> None:
    stored_race(place, seeds=2)
    storage = open_storage(place.storage)
    for stage in require_stages(storage, "toy-race"):
        open_stage(storage, toy(start={"lr": 0.123}), stage.plan)
    assert [arm.trials for arm in arms(place)] == [[]] * 4


def test_a_stored_search_is_no_race(place: Place) -> None:
    place.launch(toy(trials=1, epochs=1))
    with pytest.raises(UserError, match="'toy' is no race; give the race another --name"):
        hold(place, toy(), name="toy")


def test_what_is_left_out_of_a_race_is_said(place: Place) -> None:
    interruption = Interruption()
    interruption.requested = True
    hold(place, staged(), interruption=interruption)
    texts = place.texts("message")
    assert "the race is run as stage 'fine', the last of 2" in texts
    assert any("start is left out" in text for text in texts)
    assert not arms(place)[0].trials
    own = toy(recipe, sampler=optuna.samplers.RandomSampler())
    hold(place, own, name="own-race", interruption=interruption)
    assert any("own sampler object does not race" in text for text in place.texts("message"))
