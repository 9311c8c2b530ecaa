"""Whole launches of a stage that compares minibatch sizes by elapsed time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution

from nnstudy import OwnLoop, Stage, Study, UserError
from nnstudy.data import Data
from nnstudy.report import study_status
from nnstudy.search.plan import Plan
from nnstudy.search.storage import open_storage
from nnstudy.search.timing.comparison import compared
from nnstudy.tracking import Tracker
from tests.engines.test_stages import decayed
from tests.engines.test_stages import study as decayed_study
from tests.launching import InterruptAt, Place, blobs

MINIBATCH = Stage("minibatch", epochs=3, only=["batch_size"], scaled=["lr"])


def slow_but_good(trial: optuna.Trial, data: Data) -> OwnLoop:
    """Two examples at a time take longest and come furthest; other rates than 0.1 are worse."""
    lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
    size = trial.suggest_categorical("batch_size", [2, 4, 8])

    def epochs() -> Iterator[dict[str, float]]:
        for score in {2: (0.5, 0.6, 0.95), 4: (0.5, 0.9, 0.9), 8: (0.3, 0.4, 0.5)}[size]:
            time.sleep({2: 0.1, 4: 0.01, 8: 0.0}[size])
            yield {"accuracy/valid": score if lr == 0.1 else 0.2}

    return OwnLoop(epochs=epochs())


def study(*stages: Stage, **fields: Any) -> Study:
    start = {"lr": 0.1, "batch_size": 4}
    return Study("toy", slow_but_good, data=blobs, stages=stages, **{"start": start, **fields})


def arms(place: Place, stage: str = "toy/minibatch") -> list[tuple[int, float]]:
    return [(t.params["batch_size"], t.params["lr"]) for t in place.trials(stage)]


def plan(place: Place, stage: str) -> Plan:
    return Plan.of(place.study(f"toy/{stage}"))


def test_what_improves_fastest_is_held_afterwards_and_not_what_has_the_best_score(
    place: Place,
) -> None:
    result = place.launch(study(MINIBATCH, Stage("rest", trials=3, epochs=1, carry=1)))
    assert arms(place) == [(2, 0.1), (2, 0.05), (4, 0.1), (8, 0.1), (8, 0.2)]
    assert place.study("toy/minibatch").best_trial.params["batch_size"] == 2
    rest = place.trials("toy/rest")
    assert {trial.params["batch_size"] for trial in rest} == {4}
    assert rest[0].params["lr"] == 0.1
    assert len({trial.params["lr"] for trial in rest}) == 3
    assert (result.complete, result.finished, result.trials) == (True, 8, 8)
    (told,) = (text for text in place.texts("message") if "improves fastest" in text)
    assert told.startswith("stage minibatch: batch_size 4 with lr 0.1 (as it was) improves fastest")
    assert told.endswith("picture: time.png with the run minibatch in MLflow")
    run = place.stage_run("minibatch")
    assert "| batch_size | lr | scaled |" in run.data.tags["mlflow.note.content"]
    files = Tracker(place.tracking_uri).client.list_artifacts(run.info.run_id)
    (picture,) = (file for file in files if file.path == "time.png")
    assert picture.file_size > 5000
    minibatch, _ = study_status(open_storage(place.storage), "toy")
    assert minibatch.conclusion in told if minibatch.conclusion else False

    # Neither sampler nor pruner nor another number of trials mean anything to it.
    again = place.launch(
        study(MINIBATCH, Stage("rest", trials=3, epochs=1, carry=1)),
        trials=20,
        sampler="random",
        pruner="median",
    )
    assert (again.complete, len(place.trials("toy/minibatch"))) == (True, 5)
    assert plan(place, "minibatch").pruner == {"name": "none", "options": {}}


def test_the_size_is_searched_again_only_where_a_stage_says_so(place: Place) -> None:
    only = Stage("again", trials=1, epochs=1, only=["batch_size"], carry=0)
    place.launch(study(MINIBATCH, only))
    given = {entry.name: entry.given for entry in plan(place, "again").parsed_ranges().ranges}
    assert given["batch_size"] == CategoricalDistribution([2, 4, 8])
    assert given["lr"].single()


def test_what_cannot_be_compared_is_refused_before_anything_is_stored(place: Place) -> None:
    for stage, fields, problem in (
        (MINIBATCH, {"start": {"lr": 0.1}}, "relative to which batch_size"),
        (MINIBATCH, {"start": {"batch_size": 4}}, "at which value to hold lr"),
        (Stage("x", only=["batch_size"], scaled=["lrr"]), {}, r"Stage 'x': .*Did you mean lr"),
        (Stage("x", only=["lr"], scaled=["batch_size"]), {}, "batch_size cannot be scaled"),
    ):
        with pytest.raises(UserError, match=problem):
            place.launch(study(stage, **fields))
    assert not place.all_runs()


def test_a_crash_while_the_stage_is_opened_lays_no_point_twice(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Plan.save

    def fail_once(self: Plan, study: optuna.Study) -> None:
        if self.is_open:
            raise KeyboardInterrupt
        save(self, study)

    with monkeypatch.context() as patch:
        patch.setattr(Plan, "save", fail_once)
        with pytest.raises(KeyboardInterrupt):
            place.launch(study(MINIBATCH))
    assert len(place.trials("toy/minibatch")) == 5
    result = place.launch(study(MINIBATCH))
    assert (result.complete, result.finished) == (True, 5)
    assert arms(place) == [(2, 0.1), (2, 0.05), (4, 0.1), (8, 0.1), (8, 0.2)]


@pytest.mark.slow
def test_killed_in_the_middle_it_has_the_same_arms_and_each_once(
    new_place: Any, every_epoch_is_told: None
) -> None:
    start = {"lr": 0.05, "weight_decay": 1e-4, "batch_size": 32}
    declared = decayed_study(MINIBATCH, start=start, metric="loss/valid")
    assert declared.recipe is decayed
    undisturbed, broken = new_place("undisturbed"), new_place("broken")
    undisturbed.launch(declared)
    for trial in (1, 3):
        at = InterruptAt(trial=trial, epoch=2)
        broken.launch(declared, hear=at, interruption=at.interruption)
        assert compared(plan(broken, "minibatch"), broken.trials("toy/minibatch")) is not None
    broken.launch(declared)
    assert arms(broken) == arms(undisturbed)
    assert [t.value for t in broken.trials("toy/minibatch")] == [
        t.value for t in undisturbed.trials("toy/minibatch")
    ]
    curves = [
        trial.user_attrs["nnstudy"]["timing"]["curve"] for trial in broken.trials("toy/minibatch")
    ]
    for curve in curves:
        assert len(curve) == 3
        assert sorted(seconds for seconds, _ in curve) == [seconds for seconds, _ in curve]


@pytest.mark.slow
def test_several_workers_are_told_to_make_seconds_differ(place: Place) -> None:
    start = {"lr": 0.05, "weight_decay": 1e-4, "batch_size": 32}
    place.launch(decayed_study(MINIBATCH, start=start), workers=2, epochs=20)
    found = compared(plan(place, "minibatch"), place.trials("toy/minibatch"))
    assert found is not None
    assert "several trials ran at once" in found.doubts
    told = [text for text in place.texts("message") if "improves fastest" in text]
    assert len(told) == 1
    assert "launch with one worker to be sure" in told[0]
