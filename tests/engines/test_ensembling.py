"""Ensembles of a study that was really searched: what is made, kept, told and refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnstudy.data import Data
from nnstudy.engines import EnsembleResult, ensemble
from nnstudy.ensembles import predictions
from nnstudy.ensembles.calibration import tempered
from nnstudy.ensembles.examples import as_csv
from nnstudy.ensembles.measures import Interval
from nnstudy.ensembles.words import conclusion, remarks
from nnstudy.errors import UserError
from nnstudy.search.evaluation import evaluate_trial
from nnstudy.search.opening import load_planned_data
from nnstudy.search.plan import Plan
from nnstudy.search.settings import Settings
from nnstudy.search.storage import open_storage
from nnstudy.search.test_looks import record_look
from nnstudy.search.test_looks import test_looks as looks_at_test
from nnstudy.study.loading import load_study
from nnstudy.tracking import Tracker
from nnstudy.training.checkpoints import read, read_weights, write
from tests.launching import Place, make_place, network

STUDY_FILE = """
from dataclasses import replace
from functools import partial

from nnstudy import Split
from tests.launching import blobs, toy

study = replace(
    toy(trials=6, epochs=2),
    data=partial(blobs, 500),
    split=Split(validation=0.4, selection=0.5, test=0.2),
)
"""

NUMBERS = """
from dataclasses import replace
from functools import partial

import torch

from nnstudy import Split, datasets
from tests.launching import toy


def waves():
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(400, 4, generator=generator)
    noise = torch.randn(400, 1, generator=generator)
    return datasets.tensors(inputs, inputs[:, :1].sin() + 0.1 * noise, name="waves")


study = replace(toy(trials=4, epochs=3), data=waves, split=Split(validation=0.4, selection=0.5))
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, fresh_mlflow: Path) -> Place:
    """A study that was searched once; whoever changes something puts it back."""
    place = make_place(tmp_path_factory.mktemp("searched") / "place", fresh_mlflow)
    launch(place, STUDY_FILE, keep_every=1)
    return place


def launch(place: Place, text: str, **settings: Any) -> None:
    file = place.directory / "study.py"
    file.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.directory)  # what lies in the working directory belongs to the study
        place.launch(str(file), settings=settings)


def made(
    place: Place, output: Path, warnings: list[str] | None = None, **asked: Any
) -> EnsembleResult:
    told = [] if warnings is None else warnings
    options = {"model": False, **place.options(), **asked}
    return ensemble("toy", output=output, warn=told.append, **options)


def data_of(place: Place) -> Data:
    """The data of its study."""
    study = load_study(str(place.directory / "study.py")).study
    return load_planned_data(study, Plan.of(place.study()))


@contextmanager
def changed(file: Path, content: bytes | None) -> Iterator[None]:
    """A file with other content, or without any, for a while."""
    before = file.read_bytes()
    try:
        file.unlink() if content is None else file.write_bytes(content)
        yield
    finally:
        file.write_bytes(before)


@contextmanager
def stored_as(place: Place, **fields: Any) -> Iterator[None]:
    """The study's plan with other fields, for a while."""
    study = place.study()
    plan = Plan.of(study)
    try:
        replace(plan, **fields).save(study)
        yield
    finally:
        plan.save(study)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_an_ensemble_is_kept_and_told_of_in_mlflow(searched: Place, tmp_path: Path) -> None:
    result = made(searched, tmp_path)
    kept = json.loads((tmp_path / "toy" / "ensemble.json").read_text())
    assert kept.items() <= result.describe().items()
    assert sum(member["weight"] for member in kept["members"]) == pytest.approx(1)
    assert {member["trial"] for member in kept["members"]} <= set(range(6))

    run = next(run for run in searched.all_runs() if run.info.run_id == result.run_id)
    assert (run.info.run_name, run.info.status) == ("ensemble", "FINISHED")
    assert run.data.metrics["nll/selection"] == pytest.approx(
        kept["rows"]["ensemble, calibrated"]["nll"]
    )
    runs = [searched.run(member["trial"]).info.run_id for member in kept["members"]]
    assert json.loads(run.data.tags["nnstudy.members"]) == runs
    assert all(f"runs/{member}" in run.data.tags["mlflow.note.content"] for member in runs)
    client = Tracker(searched.tracking_uri).client
    files = {file.path for file in client.list_artifacts(result.run_id)}
    assert files == {
        "ensemble.json",
        "examples.csv",
        "size.png",
        "reliability.png",
        "rejection.png",
    }
    # Asked again, it takes the place of the first.
    assert made(searched, tmp_path, select="all", members=3).run_id == result.run_id


def test_conclusion_tells_what_is_gained_or_lost(searched: Place, tmp_path: Path) -> None:
    found = made(searched, tmp_path, select="all", members=2).ensemble

    def told(*nll_gain: float) -> str:
        gains = {"nll_gain": Interval(*nll_gain), "gain": Interval(-0.0625, -0.125, 0)}
        return conclusion(replace(found, comparison=replace(found.comparison, **gains)))

    assert told(0.25, 0.125, 0.5) == (
        "an ensemble of 2 networks is better than the single best: it gains 0.2500 (0.1250 to"
        " 0.5000) in negative log-likelihood, -0.0625 (-0.1250 to 0.0000) in accuracy"
    )
    assert "cannot be told from the single best: it gains 0.2500 (-0.1" in told(0.25, -0.125, 0.5)
    assert "is worse than the single best: it gains -0.2500 (-0.5" in told(-0.25, -0.5, -0.125)


@pytest.mark.slow
def test_what_is_kept_is_enough_to_predict_with(
    new_place: Any, fresh_mlflow: Path, tmp_path: Path
) -> None:
    place = new_place("tested")
    launch(place, STUDY_FILE)
    result = made(place, tmp_path, test=True)
    kept = json.loads(result.file.read_text())
    data = data_of(place)
    part = data.open_test(lambda: None)
    inputs, targets = next(part.minibatches(len(part)))
    mixed = np.zeros((len(part), 3))
    for member in kept["members"]:
        rebuilt = network(data, member["params"]["units"]).eval()
        rebuilt.load_state_dict(read_weights(Path(member["checkpoint"])))
        with torch.no_grad():
            probabilities = rebuilt(inputs).double().softmax(1)
        mixed += member["weight"] * probabilities.numpy()
    predicted = tempered(mixed, kept["temperature"])
    assert result.test is not None
    found = result.test.numbers["ensemble"]
    assert found["accuracy"] == (predicted.argmax(1) == targets.numpy()).mean()
    surprise = -np.log(predicted[np.arange(len(part)), targets.numpy()]).mean()
    assert found["nll"] == pytest.approx(surprise, rel=1e-5)
    best = evaluate_trial(open_storage(place.storage), "toy", part="test", settings=Settings("cpu"))
    assert result.test.numbers["best of the search"]["accuracy"] == best.scores["accuracy"]
    assert (result.test_looks, best.test_looks) == (1, 2)

    again = made(place, tmp_path, test=True, select="all", members=2)
    assert again.test == result.test
    assert again.describe()["test"]["outdated"]
    assert not result.describe()["test"]["outdated"]
    assert again.test_looks == 2


@pytest.mark.slow
def test_a_look_that_was_broken_off_is_completed_and_not_counted_twice(
    new_place: Any, tmp_path: Path
) -> None:
    place = new_place("broken-off")
    launch(place, STUDY_FILE)
    plain = made(place, tmp_path)
    study = place.study()
    look = {"trial": plain.ensemble.pool.candidates[0].trial.number}
    record_look(open_storage(place.storage), study, {**look, "ensemble": plain.ensemble.digest})
    result = made(place, tmp_path, test=True)
    assert result.test is not None
    assert result.test.digest == plain.ensemble.digest
    assert len(looks_at_test(place.study())) == result.test_looks == 1


def test_answers_are_computed_once(
    searched: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = predictions.predict

    def counted(*arguments: Any) -> Any:
        asked.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(predictions, "predict", counted)
    first = made(searched, tmp_path)
    assert len(asked) == 6
    again = made(searched, tmp_path, combine="vote")
    assert len(asked) == 6
    for before, after in zip(first.ensemble.pool.outputs, again.ensemble.pool.outputs, strict=True):
        assert torch.equal(before.scores, after.scores)
    for file in (tmp_path / "toy" / "predictions").iterdir():
        file.write_bytes(b"damaged")
    made(searched, tmp_path)
    assert len(asked) == 12


def test_each_example_is_told_with_its_answer_and_how_sure_it_is(
    searched: Place, tmp_path: Path
) -> None:
    result = made(searched, tmp_path)
    told, ensembled = result.describe(), result.ensemble
    rows = list(csv.DictReader(as_csv(ensembled).splitlines()))
    assert [int(row["example"]) for row in rows] == list(range(ensembled.pool.answers.examples))
    assert [int(row["target"]) for row in rows] == ensembled.pool.answers.targets.tolist()
    right = [row["answer"] == row["target"] for row in rows]
    assert right == [row["right"] == "1" for row in rows]
    accuracy = told["rows"]["ensemble, calibrated"]["accuracy"]["mean"]
    assert np.mean(right) == pytest.approx(accuracy)
    for row in rows:
        assert 1 / 3 < float(row["probability"]) <= 1
        assert 0 <= float(row["disagreement"]) <= np.log(3)
    entropies = np.array([float(row["entropy"]) for row in rows])
    assert told["uncertainty"]["total"] == pytest.approx(entropies.mean(), rel=1e-4)
    kept = np.argsort(entropies, kind="stable")[: round(0.9 * len(rows))]
    assert told["uncertainty"]["error_of_the_surest"] == pytest.approx(
        1 - np.array(right)[kept].mean(), abs=0.02
    )


def test_the_classes_that_are_known_least_are_named(searched: Place, tmp_path: Path) -> None:
    result = made(searched, tmp_path)
    classes = result.describe()["rows"]["ensemble, calibrated"]["classes"]
    worst = min(range(3), key=lambda label: classes[label]["f1"])
    named = next(text for text in remarks(result.ensemble) if "it knows least" in text)
    assert named.startswith(f"the classes it knows least: {worst} (f1 {classes[worst]['f1']:.3f})")
    run = next(run for run in searched.all_runs() if run.info.run_id == result.run_id)
    note = run.data.tags["mlflow.note.content"]
    assert "| class | precision | recall | f1 | examples |" in note
    assert f"| {worst} | {classes[worst]['precision']:.3f} |" in note


def test_what_answers_cost_is_told_beside_the_single_best(searched: Place, tmp_path: Path) -> None:
    result = made(searched, tmp_path, select="all", members=5)
    costs, ensembled = result.describe()["costs"], result.ensemble
    networks = [network(data_of(searched), one.trial.params["units"]) for one in ensembled.members]
    sizes = [sum(weights.numel() for weights in one.parameters()) for one in networks]
    assert costs["ensemble"]["parameters"] == sum(sizes)
    assert costs["ensemble"]["bytes"] == 4 * sum(sizes)
    assert costs["single"]["parameters"] in sizes
    # Five networks one after another; what it takes to combine them weighs much in such small ones.
    assert 0.5 < costs["latency_ratio"] < 20
    assert costs["batch"] == ensembled.pool.answers.examples
    for one in (costs["single"], costs["ensemble"]):
        assert 0 < one["latency"] < 1
        assert one["throughput"] > 1 / one["latency"]


def test_missing_and_damaged_checkpoints_are_left_out_and_named(
    searched: Place, tmp_path: Path
) -> None:
    missing, damaged = searched.checkpoint(1), searched.checkpoint(4)
    broken = bytearray(damaged.read_bytes())
    broken[-3] ^= 255
    warnings: list[str] = []
    with changed(missing, None), changed(damaged, bytes(broken)):
        result = made(searched, tmp_path, warnings, select="all")
    told = {one["candidate"].split()[0]: one["reason"] for one in result.describe()["skipped"]}
    assert "there is no checkpoint" in told["search/1"]
    assert "damaged" in told["search/4"]
    assert sorted(member["trial"] for member in result.describe()["members"]) == [0, 2, 3, 5]
    assert sum("is left out" in warning for warning in warnings) == 2


def test_weights_of_other_data_are_refused(searched: Place, tmp_path: Path) -> None:
    file = searched.checkpoint(2)
    state, metadata = read(file)
    write(tmp_path / "other", state, {**metadata, "data": "0" * 16})
    with (
        changed(file, (tmp_path / "other").read_bytes()),
        pytest.raises(UserError, match="trained on other data"),
    ):
        made(searched, tmp_path)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"members": 7}, "7 members were asked for, but 'toy' has kept only 6 candidates"),
        ({"members": 1}, "at least two members"),
        ({"bags": 3, "select": "all"}, "--bags 3 belongs to --select greedy"),
        ({"sources": ()}, "needs candidates"),
        ({"members": 5, "candidates": 4}, "--candidates 4 are fewer"),
        (
            {"combine": "weights"},
            "several networks are not averaged, since they were trained apart",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_computed(
    searched: Place, tmp_path: Path, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        made(searched, tmp_path, **asked)
    assert not (tmp_path / "toy").exists()


def test_an_empty_selection_part_is_refused(searched: Place, tmp_path: Path) -> None:
    data = Plan.of(searched.study()).data
    empty = {**data, "examples": {**data["examples"], "selection": 0}}
    with (
        stored_as(searched, data=empty),
        pytest.raises(UserError, match=r"selection part of blobs.* has 0 examples"),
    ):
        made(searched, tmp_path)


def test_another_mlflow_is_refused(searched: Place, tmp_path: Path) -> None:
    options = {**searched.options(), "tracking_uri": f"sqlite:///{tmp_path / 'other.db'}"}
    with pytest.raises(UserError, match="has no runs of the study 'toy'"):
        ensemble("toy", output=tmp_path, **options)
    assert not (tmp_path / "other.db").exists()


def test_changed_code_is_told(searched: Place, tmp_path: Path) -> None:
    warnings: list[str] = []
    file = searched.directory / "study.py"
    with changed(file, file.read_bytes() + b"\n# changed\n"):
        made(searched, tmp_path, warnings)
    assert "since 'toy/search' was launched: study.py changed" in warnings


def test_kept_epochs_of_the_best_trial_are_an_ensemble(searched: Place, tmp_path: Path) -> None:
    warnings: list[str] = []
    result = made(searched, tmp_path, warnings, sources=["checkpoints"], select="all")
    members = result.describe()["members"]
    assert {member["trial"] for member in members} == {searched.study().best_trial.number}
    assert sorted(member["epoch"] for member in members) == [1, 2]
    assert warnings == ["there are only 2 candidates for 10 members"]
    both = made(searched, tmp_path, sources=["checkpoints", "top-trials"], select="all")
    assert len(both.describe()["members"]) == 7


def test_averages_are_members_beside_others_and_each_tells_where_it_is_from(
    searched: Place, tmp_path: Path
) -> None:
    sources = ["average", "top-trials"]
    told = made(searched, tmp_path, sources=sources, select="all", members=4, model=False)
    best, *_ = sorted(searched.trials(), key=lambda trial: -(trial.value or 0))
    members = told.describe()["members"]
    assert sorted([one["from"], one["averaged"]] for one in members) == [
        *([["average"], [1, 2]],) * 2,
        *([["top-trials"], []],) * 2,
    ]
    [mean] = [one for one in members if one["averaged"] and one["trial"] == best.number]
    kept = [
        read_weights(next(searched.checkpoint(best.number).parent.glob(f"spaced-epoch000{n}-*")))
        for n in (1, 2)
    ]
    found = read_weights(Path(mean["checkpoint"]))
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, (kept[0][name] + kept[1][name]) / 2)
    assert 0 < mean["value"] <= 1


@pytest.mark.slow
def test_other_ways_are_told_side_by_side_as_they_would_be_if_asked_for(
    searched: Place, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"sources": ["average", "top-trials"], "members": 3}
    told = made(searched, tmp_path, **asked).describe()["ways"]
    assert list(told) == [
        *("--from average", "--from top-trials", "--select all", "--select best-k"),
        *(f"--combine {way}" for way in ("logits", "geometric", "weighted", "vote")),
    ]
    for name, changed_to in (
        ("--select best-k", {"select": "best-k"}),
        ("--combine vote", {"combine": "vote"}),
        ("--from average", {"sources": ["average"]}),
    ):
        found = made(searched, tmp_path, **{**asked, **changed_to}).describe()
        final = found["rows"]["ensemble, calibrated"]
        assert told[name]["nll"] == pytest.approx(final["nll"])
        assert told[name]["interval_95"] == pytest.approx(final["accuracy"])
    note = next(run for run in searched.all_runs() if run.info.run_name == "ensemble")
    assert "| --select all |" in note.data.tags["mlflow.note.content"]


AVERAGED = """
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from nnstudy import Recipe, Split
from tests.launching import blobs, toy


def recipe(trial, data):
    lr = trial.suggest_float("lr", 0.01, 0.3, log=True)
    network = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)
    )
    return Recipe(
        network=network, optimizer=partial(torch.optim.SGD, lr=lr), batch_size=32, average=0.9
    )


study = replace(
    toy(recipe, trials=2, epochs=8),
    data=partial(blobs, 400),
    split=Split(validation=0.4, selection=0.5),
)
"""


@pytest.mark.slow
def test_averages_of_each_training_are_an_ensemble_and_repeatable(
    new_place: Any, tmp_path: Path
) -> None:
    place = new_place("averaged")
    launch(place, AVERAGED, keep_every=1)
    result = made(place, tmp_path, sources=["average"], select="all", model=False)
    members = result.describe()["members"]
    assert sorted((member["trial"], member["averaged"]) for member in members) == [
        *((0, []), (0, [7, 8])),
        *((1, []), (1, [7, 8])),
    ]
    assert {member["kind"] for member in members} == {"average"}
    # The best of the search is there to be compared with, and no member.
    assert [one["from"] for one in result.describe()["candidates"]] == [[], *[["average"]] * 4]

    # The weights are the mean, and batch norm's statistics those of the training part.
    [uniform] = [one for one in members if one["averaged"] and one["trial"] == 0]
    found = read_weights(Path(uniform["checkpoint"]))
    kept = [
        read_weights(next(place.checkpoint(0).parent.glob(f"spaced-epoch000{epoch}-*")))
        for epoch in (7, 8)
    ]
    for name in ("0.weight", "1.weight", "4.bias"):
        torch.testing.assert_close(found[name], (kept[0][name] + kept[1][name]) / 2)
    study = load_study(str(place.directory / "study.py")).study
    data = load_planned_data(study, Plan.of(place.study()))
    first = torch.nn.functional.linear(data.train.inputs, found["0.weight"], found["0.bias"])
    torch.testing.assert_close(found["1.running_mean"], first.mean(0), atol=1e-5, rtol=1e-4)

    # Asked again, it is found; made anew, it is the same.
    file = Path(uniform["checkpoint"])
    when = file.stat().st_mtime_ns
    again = made(place, tmp_path, sources=["average"], select="all", model=False)
    assert file.stat().st_mtime_ns == when
    file.write_bytes(b"damaged")
    assert result.ensemble.digest == again.ensemble.digest
    anew = made(place, tmp_path, sources=["average"], select="all", model=False)
    assert all(torch.equal(tensor, found[name]) for name, tensor in read_weights(file).items())
    assert anew.describe()["rows"] == result.describe()["rows"]

    # Of a damaged epoch there is no average, which is told.
    damaged = next(place.checkpoint(1).parent.glob("spaced-epoch0008-*"))
    with changed(damaged, b"damaged"):
        less = made(place, tmp_path, sources=["average"], select="all", model=False)
    [skipped] = less.describe()["skipped"]
    assert skipped["candidate"] == "search/1 averaged over epochs 7, 8"
    assert "damaged" in skipped["reason"]


RESTARTS = """
from dataclasses import replace
from functools import partial

import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from nnstudy import Recipe, Split
from tests.launching import blobs, network, toy


def recipe(trial, data):
    trial.suggest_categorical("units", [8])
    return Recipe(
        network=network(data),
        optimizer=partial(torch.optim.SGD, lr=0.1),
        schedule=lambda optimizer, steps: CosineAnnealingWarmRestarts(optimizer, 2 * steps.per_epoch),
        batch_size=32,
    )


study = replace(
    toy(recipe, trials=1, epochs=6),
    data=partial(blobs, 300),
    split=Split(validation=0.4, selection=0.5),
)
"""


@pytest.mark.slow
def test_low_points_of_warm_restarts_are_a_snapshot_ensemble(
    new_place: Any, tmp_path: Path
) -> None:
    place = new_place("restarts")
    launch(place, RESTARTS)
    told = made(place, tmp_path, sources=["checkpoints"], select="all", members=3).describe()
    best = place.trials()[0].user_attrs["nnstudy"]["best_epoch"]
    candidates = [(one["kind"], one["epoch"]) for one in told["candidates"]]
    assert candidates == [
        ("best", best),
        *(("cycle", epoch) for epoch in (6, 4, 2) if epoch != best),
    ]
    assert len(told["members"]) == 3


@pytest.mark.slow
def test_numbers_get_a_mean_and_a_variance(new_place: Any, tmp_path: Path) -> None:
    place = new_place("numbers")
    launch(place, NUMBERS)
    result = made(place, tmp_path, test=True)
    told = result.describe()
    table = [
        [float(cell) for cell in row]
        for row in csv.reader(as_csv(result.ensemble).splitlines()[1:])
    ]
    assert all(variance >= disagreement for _, _, _, variance, disagreement, _ in table)
    assert np.mean(table, axis=0)[-1] == pytest.approx(
        told["rows"]["ensemble"]["mse"]["mean"], rel=1e-4
    )
    assert told["noise"] > 0
    assert told["uncertainty"]["total"] > told["noise"] / 2
    assert told["temperature"] == 1
    assert set(told["rows"]) == {"best of the search", "single best", "ensemble"}
    assert told["test"]["numbers"]["ensemble"]["mse"] < 1
    with pytest.raises(UserError, match="--combine vote is for classes"):
        made(place, tmp_path, combine="vote")


@pytest.mark.slow
def test_checkpoints_that_mlflow_keeps_are_fetched(new_place: Any, tmp_path: Path) -> None:
    place = new_place("uploaded")
    launch(place, STUDY_FILE, upload=True, keep_every=1)
    found = made(place, tmp_path, sources=["checkpoints", "top-trials"], select="all").describe()
    assert len(found["members"]) == 7
    assert found["skipped"] == []
    assert all(member["checkpoint"].startswith("runs:/") for member in found["members"])
