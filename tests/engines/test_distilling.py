"""Distilling the ensemble of a study that was really searched: trained, measured, told, refused."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from torch import nn

from nnstudy import Recipe, Split, Study
from nnstudy.data import Data
from nnstudy.engines import DistillResult, distill, ensemble, join
from nnstudy.ensembles.calibration import tempered
from nnstudy.ensembles.combination import class_probabilities
from nnstudy.ensembles.distillation.words import conclusion, remarks
from nnstudy.ensembles.measures import Interval
from nnstudy.errors import UserError
from nnstudy.report import study_status
from nnstudy.search.distillation import answers
from nnstudy.search.distillation.lesson import MIX, TEMPERATURE
from nnstudy.search.evaluation import evaluate_trial
from nnstudy.search.opening import load_planned_data
from nnstudy.search.plan import Plan
from nnstudy.search.settings import Settings
from nnstudy.search.storage import open_storage
from nnstudy.search.test_looks import test_looks as looks_at_test
from nnstudy.study.building import build_training
from nnstudy.study.loading import load_study
from nnstudy.tracking import Tracker
from nnstudy.training import Training
from nnstudy.training.checkpoints import read_weights, write
from nnstudy.training.losses import Quadratic
from nnstudy.training.seeds import seed_everything
from tests.launching import InterruptAt, Place, blobs, make_place, recipe, toy

STUDY_FILE = """
from dataclasses import replace
from functools import partial

from nnstudy import Split
from tests.launching import blobs, toy

study = replace(
    toy(trials=5, epochs=2),
    data=partial(blobs, 400),
    split=Split(validation=0.4, selection=0.5, test=0.2),
)
"""

STUDENTS = 3


def launch(place: Place, text: str = STUDY_FILE) -> None:
    file = place.directory / "study.py"
    file.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.directory)  # what lies in the working directory belongs to the study
        place.launch(str(file))


def ensembles(place: Place) -> Path:
    return place.directory / "ensembles"


def with_ensemble(place: Place, study: Study | str | None = None) -> Place:
    """Makes an ensemble of the best two trials."""
    ensemble(
        "toy",
        select="all",
        members=2,
        model=False,
        study=study,
        output=ensembles(place),
        **place.options(),
    )
    return place


def distilled(place: Place, **asked: Any) -> DistillResult:
    place.events.clear()
    given = {"workers": 1, "trials": STUDENTS, **place.options(), **asked}
    return distill(
        "toy", output=ensembles(place), emit=given.pop("emit", place.events.append), **given
    )


@pytest.fixture(scope="module", autouse=True)
def _timed_once() -> Iterator[None]:
    """Answers are timed as always, but not for long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nnstudy.ensembles.timing._SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, fresh_mlflow: Path) -> Place:
    """A study with an ensemble; whoever changes something works on a copy."""
    place = make_place(tmp_path_factory.mktemp("searched") / "place", fresh_mlflow)
    launch(place)
    return with_ensemble(place)


@pytest.fixture(scope="module")
def done(searched: Place) -> tuple[Place, DistillResult]:
    return searched, distilled(searched)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def data_of(place: Place, plan: Plan) -> tuple[Study, Data]:
    study = replace(load_study(str(place.directory / "study.py")).study, name="toy")
    return study, load_planned_data(study, plan)


def test_the_students_are_a_stage_whose_run_tells_what_came_of_it(
    done: tuple[Place, DistillResult],
) -> None:
    place, result = done
    found = result.distillation
    assert found is not None
    trials = place.trials("toy/distill")
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * STUDENTS
    assert [trial.params[MIX] == 0 for trial in trials] == [True, False, False]
    assert all(1 <= trial.params[TEMPERATURE] <= 10 for trial in trials)
    best = place.study().best_trial
    assert all(best.params.items() <= trial.params.items() for trial in trials)

    run = place.stage_run("distill")
    assert run.info.status == "FINISHED"
    assert run.data.tags["nnstudy.conclusion"] == conclusion(found)
    note = run.data.tags["mlflow.note.content"]
    assert all(f"| {name} |" in note for name in found.rows)
    assert run.data.metrics["nll/selection"] == pytest.approx(
        found.rows["distilled"].numbers["nll"]
    )
    children = [r for r in place.all_runs() if r.data.tags.get("nnstudy.stage") == "distill"]
    assert len(children) == STUDENTS + 1
    client = Tracker(place.tracking_uri).client
    file = client.download_artifacts(run.info.run_id, "distillation.json", str(place.directory))
    told = json.loads(Path(file).read_text())
    assert told.items() <= json.loads(json.dumps(result.describe())).items()
    status = study_status(open_storage(place.storage), "toy")
    assert [stage.conclusion for stage in status] == [None, conclusion(found)]
    assert not any(looks_at_test(place.study(name)) for name in ("toy/search", "toy/distill"))


def test_an_ensemble_that_is_worse_is_called_so(done: tuple[Place, DistillResult]) -> None:
    found = done[1].distillation
    assert found is not None
    losing = Interval(-0.2, -0.3, -0.1)
    worse = replace(found, nll_gain=replace(found.nll_gain, ensemble=losing, share=None))
    said = conclusion(worse)
    assert "worse than the single best in negative log-likelihood" in said
    assert "negative log-likelihood cannot be told" not in said


def test_student_and_ensemble_are_measured_as_they_are_elsewhere(
    done: tuple[Place, DistillResult],
) -> None:
    place, result = done
    found = result.distillation
    assert found is not None
    made = json.loads((ensembles(place) / "toy" / "ensemble.json").read_text())
    told = result.describe()
    for name in ("single best", "ensemble"):
        assert told["rows"][name] == made["rows"][f"{name}, calibrated"]
    assert told["nll_gain"]["ensemble"] == made["nll_gain"]
    evaluated = evaluate_trial(
        open_storage(place.storage),
        "toy",
        stage="distill",
        number=found.student.number,
        part="selection",
        settings=Settings(device="cpu"),
        tracking_uri=place.tracking_uri,
    )
    # A temperature changes no answer.
    assert told["rows"]["distilled"]["accuracy"]["mean"] == evaluated.scores["accuracy"]
    assert found.costs.ensemble.parameters > found.costs.single.parameters > 0
    assert found.nll_gain.over_hard is not None


def test_students_learn_the_calibrated_answers_of_the_ensemble(
    done: tuple[Place, DistillResult],
) -> None:
    place, result = done
    study, data = data_of(place, result.plan)
    made = json.loads((ensembles(place) / "toy" / "ensemble.json").read_text())
    total = np.zeros((len(data.train), 3))
    for member in made["members"]:
        trial = place.trials()[member["trial"]]
        network = study.recipe(trial_like(trial.params), data).network  # type: ignore[union-attr]
        network.load_state_dict(read_weights(Path(member["checkpoint"])))
        with torch.no_grad():
            scores = network.eval()(data.train.inputs)  # type: ignore[attr-defined]
        total += member["weight"] * class_probabilities(scores.double().numpy(), "softmax")
    wanted = tempered(total, made["temperature"])
    taught = answers.fetch(Tracker(place.tracking_uri), result.plan)
    assert np.allclose(taught.numpy(), wanted, atol=1e-5)


def trial_like(params: dict[str, Any]) -> Any:
    return optuna.trial.FixedTrial(params)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"nonsense", "is damaged"),
        (None, "is not what this stage began to learn from"),
    ],
)
def test_other_answers_than_those_that_were_kept_are_refused(
    done: tuple[Place, DistillResult], content: bytes | None, said: str
) -> None:
    place, result = done
    root = place.stage_run("distill").info.artifact_uri.removeprefix("file:")
    file = Path(root) / answers.FILE
    before = file.read_bytes()
    if content is None:
        write(file, {"answers": torch.zeros(3, 3)})
    else:
        file.write_bytes(content)
    try:
        with pytest.raises(UserError, match=said):
            answers.fetch(Tracker(place.tracking_uri), result.plan)
    finally:
        file.write_bytes(before)


def test_the_first_student_is_bit_for_bit_a_training_without_a_teacher(
    done: tuple[Place, DistillResult],
) -> None:
    place, result = done
    plan = result.plan
    study, data = data_of(place, plan)
    seed = (plan.seed, zlib.crc32(b"distill"), 0)
    seed_everything(*seed)
    made = study.recipe(trial_like(place.trials("toy/distill")[0].params), data)
    training = build_training(made, study, data, plan.conditions("cpu"), seed=seed)
    assert isinstance(training, Training)
    wanted = [record.values["loss/valid"] for record in training]
    curve = place.curves(0, "distill")["loss/valid"]
    assert [value for _, value in curve] == wanted
    # The others begin with the same weights, and learn something else.
    assert place.curves(1, "distill")["loss/valid"] != curve


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, fresh_mlflow: Path) -> Place:
    """Another such study, in which the same was searched, for what changes it."""
    place = make_place(tmp_path_factory.mktemp("own") / "place", fresh_mlflow)
    launch(place)
    return with_ensemble(place)


@pytest.mark.usefixtures("every_epoch_is_told")
def test_a_distillation_goes_on_where_it_stopped_and_anybody_may_join(
    own: Place, done: tuple[Place, DistillResult]
) -> None:
    hear = InterruptAt(trial=1)
    stopped = distilled(own, emit=hear, interruption=hear.interruption)
    assert not stopped.complete
    plan = Plan.of(own.study("toy/distill"))

    artifacts = Path(own.stage_run("distill").info.artifact_uri.removeprefix("file:"))
    away = artifacts.with_name("away")
    artifacts.rename(away)
    with pytest.raises(UserError, match=r"what the ensemble teaches stage 'distill'.* cannot be"):
        join("toy", study=str(own.directory / "study.py"), **own.options())
    away.rename(artifacts)

    joined = join("toy", study=str(own.directory / "study.py"), **own.options())
    assert joined.complete
    assert joined.ended == STUDENTS - 1
    result = distilled(own)
    assert result.complete
    assert result.plan.lesson == plan.lesson
    # The same as in the study whose students nobody stopped.
    undisturbed = [trial.value for trial in done[0].trials("toy/distill")]
    assert [trial.value for trial in own.trials("toy/distill")] == undisturbed


def test_more_students_are_added_and_another_lesson_is_another_stage(own: Place) -> None:
    assert distilled(own, trials=STUDENTS + 1).plan.trials == STUDENTS + 1
    assert len(own.trials("toy/distill")) == STUDENTS + 1
    other = min(range(5), key=lambda number: own.trials()[number].value or 0)
    result = distilled(own, trials=2, trial=other, epochs=1)
    assert (result.plan.stage, result.plan.epochs) == ("distill-2", 1)
    worst = own.trials()[other].params
    assert all(worst.items() <= t.params.items() for t in own.trials("toy/distill-2"))
    assert f"trial {other} of stage search" in remarks(result.distillation)[0]  # type: ignore[arg-type]


def test_numbers_are_learnt_without_a_temperature(place: Place) -> None:
    launch(
        place,
        """
from dataclasses import replace

import torch

from nnstudy import Split, datasets
from tests.launching import toy


def waves():
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(200, 4, generator=generator)
    return datasets.tensors(inputs, inputs[:, :1].sin(), name="waves")


study = replace(toy(trials=2, epochs=1), data=waves, split=Split(validation=0.4, selection=0.5))
""",
    )
    result = distilled(with_ensemble(place), trials=2)
    found = result.distillation
    assert found is not None
    assert found.student.params.keys() >= {MIX}
    assert TEMPERATURE not in found.student.params
    assert "squared error" in conclusion(found)
    assert result.describe()["rows"]["distilled"]["mse"]["mean"] > 0


@pytest.mark.slow
def test_a_study_from_a_notebook_can_be_distilled(place: Place) -> None:
    split = Split(validation=0.4, selection=0.5)
    study = toy(trials=2, epochs=1, split=split)
    place.launch(study)
    result = distilled(with_ensemble(place, study), trials=2, study=study)
    assert result.complete


# -- Refused --------------------------------------------------------------------------------


def refusal(place: Place, **asked: Any) -> str:
    before = place.dump()
    with pytest.raises(UserError) as caught:
        distilled(place, **asked)
    assert place.dump() == before  # nothing was stored
    return str(caught.value)


def test_without_an_ensemble_the_command_that_makes_one_is_told(
    searched: Place, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="Make one first: nnstudy ensemble toy"):
        distill("toy", output=tmp_path, **searched.options())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told.pop("members"), "cannot be read"),
        (lambda told: told.update(version=99), "newer nnstudy"),
        (lambda told: told["data"].update(digest="0" * 16), "other data"),
        (lambda told: told["candidates"][0].update(trial=77), "trial 77 of stage 'search'"),
        (lambda told: told["candidates"][0]["params"].update(units=99), "not stored any more"),
        (lambda told: told["members"][0].update(hash="0"), "not those that the ensemble was made"),
    ],
)
def test_an_ensemble_that_is_not_what_is_stored_is_refused(
    searched: Place, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    file = ensembles(searched) / "toy" / "ensemble.json"
    before = file.read_text()
    told = json.loads(before)
    change(told)
    file.write_text(json.dumps(told))
    try:
        text = refusal(searched)
    finally:
        file.write_text(before)
    assert said in text
    assert "nnstudy ensemble toy" in text or "upgrade" in text


def test_networks_that_are_missing_are_named(searched: Place) -> None:
    file = searched.checkpoint(1)
    away = shutil.move(file, file.with_name("away"))
    try:
        text = refusal(searched)
    finally:
        shutil.move(away, file)
    assert "search/1" in text
    assert str(file) in text
    assert "nnstudy ensemble toy" in text


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"trials": 1}, "--trials 1"),
        ({"epochs": 0}, "--epochs must be above 0"),
        ({"stage": "fine"}, "no stage 'fine'"),
        ({"trial": 99}, "no trial 99"),
    ],
)
def test_what_cannot_be_meant_is_refused(searched: Place, asked: dict[str, Any], said: str) -> None:
    assert said in refusal(searched, **asked)


def own_loop(trial: Any, data: Data) -> Any:
    recipe(trial, data)
    return ({"accuracy/valid": 0.5} for _ in range(2))


def quadratic(trial: Any, data: Data) -> Recipe:
    return replace(recipe(trial, data), loss=Quadratic())


def of_no_class(trial: Any, data: Data) -> Recipe:
    made = recipe(trial, data)
    return replace(made, network=nn.Sequential(made.network, nn.Linear(3, 7)))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (own_loop, "a training loop of its own"),
        (quadratic, "no scores of classes"),
        (of_no_class, "gives (7,) numbers for an example, not 3"),
    ],
)
def test_a_loss_that_cannot_be_taught_is_refused(
    searched: Place, other: Callable[..., Any], said: str
) -> None:
    study = toy(other, trials=5, epochs=2, split=Split(validation=0.4, selection=0.5, test=0.2))
    study.data = lambda: blobs(400)
    assert said in refusal(searched, study=study)


def test_trials_since_the_ensemble_are_told_of(own: Place) -> None:
    file = ensembles(own) / "toy" / "ensemble.json"
    os.utime(file, (0, 0))
    distilled(own, trials=2)
    assert "5 trials of the search have ended since" in own.texts("warning")[0]
