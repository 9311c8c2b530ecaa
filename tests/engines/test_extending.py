"""Searches that go on beyond the border of what was asked for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial
from torch import nn

from nnstudy import Recipe, Stage, Study
from nnstudy.data import Data
from nnstudy.doctor import Places, diagnose
from nnstudy.engines import confirm, join
from nnstudy.report import study_status
from nnstudy.search.evaluation import evaluate_trial
from nnstudy.search.plan import Plan
from nnstudy.search.storage import open_storage
from tests.launching import InterruptAt, Place, toy

ASKED = FloatDistribution(1e-6, 1e-4, log=True)
WIDER = FloatDistribution(1e-6, 1e-3, log=True)


def at(best: float) -> Any:
    """A recipe whose loss is the smallest at some rate, within what is asked for or not."""

    def recipe(trial: optuna.Trial, data: Data) -> Iterable[dict[str, float]]:
        lr = trial.suggest_float("lr", 1e-6, 1e-4, log=True)
        return [{"loss/valid": math.log10(lr / best) ** 2}]

    return recipe


def beyond(best: float = 4e-4, trials: int = 10, **fields: Any) -> Study:
    sampler = {"trials": trials, "epochs": 1, "sampler": "qmc", "metric": "loss/valid"}
    return toy(at(best), **{**sampler, **fields})


def plan(place: Place, stage: str) -> Plan:
    return Plan.of(place.study(f"toy/{stage}"))


def searched(place: Place, stage: str, name: str = "lr") -> Any:
    return {entry.name: entry.given for entry in plan(place, stage).parsed_ranges().ranges}[name]


def stages(place: Place) -> list[str]:
    return [status.stage for status in study_status(open_storage(place.storage), "toy")]


def lowest(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return sorted(trials, key=lambda trial: trial.value or 0.0)


@pytest.mark.slow
def test_a_search_that_was_asked_to_later_goes_on_beyond_its_border(place: Place) -> None:
    study = beyond(limits={"lr": (None, 1e-3)})
    result = place.launch(study)
    assert (result.complete, result.extendable, result.extended) == (True, True, {})
    [status] = study_status(open_storage(place.storage), "toy")
    assert status.extendable

    result = place.launch(study, extend_borders=True)
    assert stages(place) == ["search", "search-wider"]
    assert [searched(place, stage) for stage in stages(place)] == [ASKED, WIDER]
    assert (result.complete, result.finished, result.trials) == (True, 20, 20)
    assert (result.extended, result.extendable) == ({"search": "search-wider"}, False)
    assert not result.borders["search-wider"]
    assert result.stage == "search-wider"
    assert 2e-4 < result.best.params["lr"] < 1e-3
    before, after = place.texts("message")[-2:]
    assert before == "where good values crowd the edge of a range, up to 30 trials come on top"
    assert after.endswith("Stage search-wider searches lr: 1e-06..0.001 (log) in 10 more trials")
    # The best are run again first, beside which the others can be judged.
    again = [trial.params for trial in place.trials("toy/search-wider")[:3]]
    assert again == [trial.params for trial in lowest(place.trials())[:3]]
    status, wider = study_status(open_storage(place.storage), "toy")
    assert (status.extended_by, status.extendable) == ("search-wider", False)
    assert [entry.given for entry in wider.ranges] == ["1e-06..0.001 (log)"]

    # It is remembered, and has as many trials as the stage that it goes on with.
    more = place.launch(study, trials=11)
    assert (more.finished, more.complete) == (22, True)
    assert [len(place.trials(f"toy/{stage}")) for stage in stages(place)] == [11, 11]


STUDY_FILE = """
from functools import partial

import torch
from torch import nn

from nnstudy import Recipe, Stage, Study
from tests.launching import blobs


def recipe(trial, data):
    network = nn.Linear(data.shape[0], data.outputs)
    for weights in network.parameters():
        nn.init.zeros_(weights)
    lr = 1e-3 * trial.suggest_categorical("times", [1, 2, 4])
    return Recipe(
        network=network, optimizer=partial(torch.optim.SGD, lr=lr), batch_size=32
    )


study = Study(
    "toy", recipe, data=blobs, metric="loss/valid", limits={"times": (None, 8)},
    stages=[Stage(trials=16, epochs=1, sampler="random", pruner="none")],
)
"""


@pytest.fixture
def file(place: Place) -> str:
    """A study whose best choice is the last one, with another one to be tried."""
    file = place.directory / "study.py"
    file.write_text(STUDY_FILE)
    return str(file)


@pytest.mark.slow
def test_what_goes_on_is_a_stage_like_any_other(place: Place, file: str) -> None:
    place.launch(file, extend_borders=True)
    assert stages(place) == ["search", "search-wider"]
    assert searched(place, "search-wider", "times") == CategoricalDistribution([1, 2, 4, 8])
    run = place.stage_run("search-wider")
    assert (run.info.status, run.data.tags["nnstudy.trials"]) == ("FINISHED", "16")
    assert "| times | one of 1, 2, 4 |" in run.data.tags["mlflow.note.content"]
    kept = Path(run.info.artifact_uri.removeprefix("file:"))
    assert (kept / "code" / "study.py").read_text() == STUDY_FILE
    assert (kept / "code.json").is_file()
    assert place.run(3, "search-wider").data.tags["mlflow.parentRunId"] == run.info.run_id

    options = place.options()
    places = {key: options[key] for key in ("storage", "tracking_uri", "artifacts")}
    found = diagnose("toy", Places(**places, checkpoints=place.checkpoints), pause=0)
    assert not [one.finding.text for one in found if one.remains]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        storage = open_storage(place.storage)
        evaluation = evaluate_trial(storage, "toy", settings=options["settings"])
    best = place.trials("toy/search-wider")[evaluation.trial]
    assert (evaluation.stage, best.params) == ("search-wider", {"times": 8})
    assert evaluation.scores["loss"] == pytest.approx(best.value)
    assert confirm("toy", top=1, seeds=2, workers=1, test=False, **options).complete
    assert stages(place) == ["search", "search-wider", "confirm-search-wider"]
    assert {trial.params["times"] for trial in place.trials("toy/confirm-search-wider")} == {8}


@pytest.mark.slow
def test_a_later_stage_narrows_what_was_widened(place: Place) -> None:
    coarse = Stage("coarse", trials=20, epochs=1, sampler="qmc", pruner="none")
    fine = Stage("fine", trials=12, epochs=1, sampler="random", pruner="none")
    study = beyond(3e-4, stages=[coarse, fine], limits={"lr": (None, 1e-3)})
    result = place.launch(study, extend_borders=True)
    assert stages(place) == ["coarse", "coarse-wider", "fine"]
    assert searched(place, "coarse-wider") == WIDER
    given = searched(place, "fine")
    assert 1e-6 < given.low < 3e-4 < given.high <= 1e-3
    assert (result.stage, result.complete) == ("fine", True)
    # What a stage is narrowed from is settled: nothing is put in between any more.
    assert place.launch(study, trials=34).complete
    assert stages(place) == ["coarse", "coarse-wider", "fine"]


@pytest.mark.slow
def test_a_study_that_was_left_between_two_stages_and_in_one_has_the_same_ones(
    place: Place, new_place: Any, every_epoch_is_told: None
) -> None:
    undisturbed = new_place("undisturbed")
    undisturbed.launch(beyond(), extend_borders=True)
    for trial in (9, 4):
        at = InterruptAt(trial)
        left = place.launch(beyond(), extend_borders=True, hear=at, interruption=at.interruption)
        assert not left.complete
    assert len(place.trials("toy/search-wider")) == 5
    assert place.launch(beyond()).complete
    assert stages(place) == stages(undisturbed)
    for name in stages(place):
        assert plan(place, name).ranges == plan(undisturbed, name).ranges
        ours, theirs = (at.trials(f"toy/{name}") for at in (place, undisturbed))
        assert [(t.params, t.value) for t in ours] == [(t.params, t.value) for t in theirs]


@pytest.mark.slow
def test_a_worker_that_joins_goes_on_too(place: Place, file: str) -> None:
    leave = InterruptAt(15)
    place.launch(file, extend_borders=True, hear=leave, interruption=leave.interruption)
    assert join("toy", **place.options()).complete
    assert stages(place) == ["search", "search-wider"]
    assert len(place.trials("toy/search-wider")) == 16


@pytest.mark.slow
def test_two_workers_go_on_in_one_stage(place: Place, file: str) -> None:
    result = place.launch(file, extend_borders=True, workers=2)
    assert stages(place) == ["search", "search-wider"]
    assert (result.complete, result.finished) == (True, 32)
    assert sum("more trials" in text for text in place.texts("message")) == 1
    assert len(place.trials("toy/search-wider")) == 16


class TenTimes(nn.Module):
    """Inputs as they are before they are standardised."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return 10 * inputs


def plain(trial: optuna.Trial, data: Data) -> Recipe:
    """Descent without momentum, which is fastest at 0.1, where the range has ended long ago."""
    lr = trial.suggest_float("lr", 1e-5, 1e-3, log=True)
    layer = nn.Linear(data.shape[0], data.outputs)
    nn.init.zeros_(layer.weight)
    return Recipe(
        network=nn.Sequential(TenTimes(), layer),
        optimizer=partial(torch.optim.SGD, lr=lr),
        batch_size=16,
    )


@pytest.mark.slow
def test_the_best_rate_is_found_that_the_range_left_out(place: Place) -> None:
    study = toy(plain, trials=16, epochs=2, metric="loss/valid")
    result = place.launch(study, extend_borders=True)
    ranges = [searched(place, stage) for stage in stages(place)]
    assert [(asked.low, asked.high) for asked in ranges] == [(1e-5, 1e-3), (1e-5, 0.01), (1e-5, 1)]
    assert result.best is not None
    assert 0.1 / 4 < result.best.params["lr"] < 0.1 * 4
    best_within = lowest(place.trials("toy/search"))[0].value
    assert best_within is not None
    assert result.best.value < 0.6 * best_within
    assert not result.borders["search-wider-2"]
