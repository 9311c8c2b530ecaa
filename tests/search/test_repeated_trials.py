"""Trials that are trained several times: by folds, and by seeds."""

from __future__ import annotations

import math
import shutil
import sqlite3
import statistics
from collections.abc import Callable
from contextlib import closing
from functools import partial

import optuna
import pytest
import torch
from optuna.pruners import BasePruner
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from nnstudy import EarlyStopping, OwnLoop, Recipe, Stage
from nnstudy.data import Data, Folds, load
from nnstudy.doctor import Places, diagnose
from nnstudy.errors import UserError
from nnstudy.report import study_status
from nnstudy.search.confirmation.members import training_seed
from nnstudy.search.delivery import deliver_late
from nnstudy.search.evaluation import evaluate_trial
from nnstudy.search.events import Event
from nnstudy.search.plan import Plan
from nnstudy.search.requests import stop_trial
from nnstudy.search.settings import Settings
from nnstudy.search.storage import open_storage
from nnstudy.tracking import Tracker
from nnstudy.training import Training
from nnstudy.training.checkpoints import Keeper, read_metadata
from nnstudy.training.seeds import seed_everything
from tests.launching import InterruptAt, Place, blobs, network, toy

SCORE = "accuracy/valid"


def wobbling(trial: optuna.Trial, data: Data) -> Recipe:
    """Draws in training: initial weights, order and dropout."""
    return Recipe(
        network=network(data, dropout=0.2),
        optimizer=partial(torch.optim.SGD, lr=trial.suggest_float("lr", 0.05, 0.2), momentum=0.9),
        batch_size=16,
    )


def scores(trial: FrozenTrial) -> list[float]:
    return [one["score"] for one in trial.user_attrs["nnstudy"]["repeats"]]


def steps(curve: list[tuple[int, float]]) -> list[int]:
    return [step for step, _ in curve]


def differences(place: Place) -> list[str]:
    """What the doctor finds that Optuna, MLflow and the checkpoints do not agree in."""
    where = Places(
        storage=place.storage,
        tracking_uri=place.tracking_uri,
        artifacts=str(place.directory / "artifacts"),
        checkpoints=place.checkpoints,
    )
    found = diagnose("toy", where, fix=False, pause=0.0)
    return [one.finding.text for one in found if one.remains]


# -- What is trained ------------------------------------------------------------------------


def test_each_fold_is_a_plain_training_on_its_data_and_the_trial_their_mean(place: Place) -> None:
    place.launch(toy(wobbling, trials=1, epochs=3), folds=3, seed=4)

    (trial,) = place.trials()
    curves = place.curves(0)
    seed = training_seed(Plan.of(place.study()), trial)
    best = []
    for number in range(3):
        data = Folds(load(blobs), 3)[number]
        own = (*seed, number, 3) if number else seed
        seed_everything(*own)
        recipe = wobbling(FixedTrial(trial.params), data)  # type: ignore[arg-type]
        records = list(Training(recipe, data, epochs=3, seed=own, device="cpu"))
        for name in ("loss/train", "loss/valid", SCORE):
            told = curves[f"fold_{number + 1}/{name.replace('/', '.')}"]
            assert told == [(record.step, record.values[name]) for record in records]
        best.append(max(record.values[SCORE] for record in records))
    assert scores(trial) == best
    assert trial.value == pytest.approx(statistics.mean(best))
    # Scores of other folds are no training of this one: their mean is reported, fold by fold.
    means = [statistics.mean(best[: n + 1]) for n in range(3)]
    assert [trial.intermediate_values[n] for n in (1, 2, 3)] == pytest.approx(means)
    assert [value for _, value in curves[SCORE]] == pytest.approx(means)
    assert [value for _, value in curves[f"{SCORE}_std"]] == pytest.approx(
        [statistics.stdev(best[:2]), statistics.stdev(best)]
    )
    assert [value for _, value in curves["epoch"]] == [3, 6, 9]
    assert steps(curves["update_ratio/0.weight"]) == [1, 2, 3]  # of the first fold's epochs
    assert trial.user_attrs["nnstudy"]["epochs"] == 9
    assert place.run(0).data.tags["nnstudy.reason"] == "all 3 folds"
    assert place.stage_run().data.params["folds"] == "3"
    assert differences(place) == []


@pytest.mark.slow
def test_a_trial_of_several_seeds_has_the_mean_and_begins_as_one_of_a_single_seed(
    place: Place, new_place: Callable[[str], Place]
) -> None:
    single = new_place("single")
    single.launch(toy(wobbling, trials=1, epochs=2))
    stage = Stage(trials=1, epochs=2, seeds=3, pruner="none")
    place.launch(toy(wobbling, stages=[stage]))

    (trial,) = place.trials()
    curves, alone = place.curves(0), single.curves(0)
    assert trial.params == single.trials()[0].params
    for name in ("loss/train", "loss/valid", SCORE):
        assert curves[f"seed_1/{name.replace('/', '.')}"] == alone[name]
    assert scores(trial)[0] == single.trials()[0].value
    losses = {tuple(curves[f"seed_{n}/loss.valid"]) for n in (1, 2, 3)}
    assert len(losses) == 3
    assert trial.value == pytest.approx(statistics.mean(scores(trial)))
    assert place.stage_run().data.params["seeds"] == "3"
    (status,) = study_status(open_storage(place.storage), "toy")
    assert (status.seeds, status.folds, status.epochs) == (3, 1, 2)


@pytest.mark.slow
def test_a_loop_of_ones_own_gets_the_data_of_each_fold(place: Place) -> None:
    seen: list[list[float]] = []

    def own(trial: optuna.Trial, data: Data) -> OwnLoop:
        trial.suggest_float("lr", 0, 1)
        seen.append(next(data.validation.minibatches(1000))[0][:, 0].tolist())
        return OwnLoop(epochs=({"loss/valid": n + len(seen)} for n in (2.0, 1.0, 3.0)))

    place.launch(toy(own, trials=1, epochs=3, metric="loss/valid"), folds=3)
    (trial,) = place.trials()
    expected = [Folds(load(blobs), 3)[n].validation for n in range(3)]
    # The first question is of the space.
    assert seen[-3:] == [next(p.minibatches(1000))[0][:, 0].tolist() for p in expected]
    first = scores(trial)[0]
    assert scores(trial) == [first, first + 1, first + 2]
    assert trial.value == first + 1


# -- Stopped and continued ------------------------------------------------------------------


class HandBackAt(InterruptAt):
    """Leaves at the minibatch after an epoch, as on SIGTERM."""

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if self.interruption.requested:
            self.interruption.leaving = True


@pytest.mark.usefixtures("every_epoch_is_told")
@pytest.mark.parametrize("kind", [pytest.param(InterruptAt, marks=pytest.mark.slow), HandBackAt])
def test_one_that_is_stopped_inside_a_fold_goes_on_there_with_equal_numbers(
    place: Place, new_place: Callable[[str], Place], kind: type[InterruptAt]
) -> None:
    study = toy(wobbling, trials=2, epochs=4, early_stopping=EarlyStopping(patience=3))
    undisturbed = new_place("undisturbed")
    undisturbed.launch(study, folds=3)

    # After the first epoch of the second fold, and between that and the third.
    for epoch in (5, 8):
        at = kind(trial=0, epoch=epoch)
        result = place.launch(study, folds=3, hear=at, interruption=at.interruption)
        assert (result.complete, result.finished) == (False, 0)
    place.events.clear()
    place.launch(study)

    begun = [e.values for e in place.events if e.kind == "trial"]
    assert [(v["trial"], v["epoch"], v["epochs"]) for v in begun] == [(0, 8, 12), (1, 0, 12)]
    for trial, expected in zip(place.trials(), undisturbed.trials(), strict=True):
        assert (trial.params, trial.value) == (expected.params, expected.value)
        assert trial.intermediate_values == expected.intermediate_values
        assert scores(trial) == scores(expected)
        told, wanted = place.numbers(trial.number), undisturbed.numbers(trial.number)
        assert told == wanted
        assert all(len(set(steps(curve))) == len(curve) for curve in told.values())
    assert not list(place.checkpoints.rglob("last*"))
    assert differences(place) == []


@pytest.mark.slow
@pytest.mark.usefixtures("every_epoch_is_told")
def test_one_whose_checkpoint_is_gone_starts_again_and_tells_no_step_twice(place: Place) -> None:
    study = toy(wobbling, trials=1, epochs=3)
    at = InterruptAt(trial=0, epoch=4)
    place.launch(study, folds=2, hear=at, interruption=at.interruption)
    for path in place.checkpoints.rglob("last*"):
        path.unlink()
    place.launch(study)
    curves = place.curves(0)
    for fold in (1, 2):
        assert steps(curves[f"fold_{fold}/loss.valid"]) == [1, 2, 3]
    assert steps(curves[SCORE]) == [1, 2]


@pytest.mark.slow
@pytest.mark.usefixtures("every_epoch_is_told")
def test_one_that_is_asked_to_end_is_complete_after_its_fold(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnstudy.search.trial_life._SYNC_SECONDS", 0.0)

    def stop(event: Event) -> None:
        if event.kind == "epoch" and event.values["epoch"] == 4:
            stop_trial(place.study(), 0)

    place.launch(toy(wobbling, trials=1, epochs=3), folds=4, hear=stop)
    (trial,) = place.trials()
    assert trial.state is TrialState.COMPLETE
    assert trial.user_attrs["nnstudy"]["reason"] == "stopped on request"
    assert len(scores(trial)) == 2
    assert trial.value == pytest.approx(statistics.mean(scores(trial)))


# -- Endings --------------------------------------------------------------------------------


class Counting(BasePruner):
    """Counts its decisions, by what had been reported."""

    def __init__(self, last: int | None = None) -> None:
        self.asked: list[int] = []
        self.last = last

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        self.asked.append(max(trial.intermediate_values))
        return self.asked[-1] == self.last


def test_there_is_one_pruning_decision_for_each_fold_but_the_last_at_a_cost_told_before(
    place: Place,
) -> None:
    pruner = Counting()
    place.launch(toy(wobbling, trials=1, epochs=2, pruner=pruner), folds=8)
    said = [event for event in place.events if event.kind in ("message", "cost")]
    assert said[0].values["text"] == "8 folds: 8 times the epochs"
    assert said[1].values["epochs"] == 16
    assert pruner.asked == [1, 2, 3, 4, 5, 6, 7]
    assert sorted(place.trials()[0].intermediate_values) == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.slow
def test_a_pruned_trial_has_trained_no_further_fold(place: Place) -> None:
    place.launch(toy(wobbling, trials=1, epochs=2, pruner=Counting(last=2)), folds=4)
    (trial,) = place.trials()
    facts = trial.user_attrs["nnstudy"]
    assert trial.state is TrialState.PRUNED
    assert (facts["reason"], facts["epochs"]) == ("pruned after fold 2 of 4", 4)
    assert len(scores(trial)) == 2
    assert place.run(0).info.status == "KILLED"
    assert "fold_3/loss.valid" not in place.curves(0)
    assert differences(place) == []


@pytest.mark.slow
def test_one_that_diverges_in_a_fold_has_diverged(place: Place) -> None:
    def exploding(trial: optuna.Trial, data: Data) -> OwnLoop:
        trial.suggest_float("lr", 0, 1)
        built.append(1)
        losses = [0.5, 0.4] if len(built) < 3 else [0.5, math.nan]
        return OwnLoop(epochs=({"loss/valid": loss} for loss in losses))

    built: list[int] = []
    study = toy(exploding, trials=1, epochs=2, metric="loss/valid")

    def forget(event: Event) -> None:
        if event.kind == "stage":
            built.clear()

    place.launch(study, folds=5, hear=forget)
    (trial,) = place.trials()
    facts = trial.user_attrs["nnstudy"]
    assert (trial.state, facts["ended"]) == (TrialState.PRUNED, "diverged")
    assert [*trial.intermediate_values] == [1, 2, 3]
    assert math.isnan(trial.intermediate_values[3])
    assert facts["epochs"] == 5  # that of the third fold counts, too
    assert place.run(0).info.status == "FAILED"
    assert steps(place.curves(0)["loss/valid"]) == [1, 2]
    assert steps(place.curves(0)["fold_3/loss.valid"]) == [1]
    assert differences(place) == []


# -- Weights --------------------------------------------------------------------------------

STUDY_FILE = """
from tests.launching import toy
from tests.search.test_repeated_trials import wobbling

study = toy(wobbling, trials=1, epochs=3)
"""


def test_the_weights_of_each_fold_are_kept_and_the_best_ones_are_measured_on_their_own_data(
    place: Place,
) -> None:
    file = place.directory / "study.py"
    file.write_text(STUDY_FILE)
    place.launch(str(file), folds=3)
    (trial,) = place.trials()
    facts = trial.user_attrs["nnstudy"]
    kept = [read_metadata(one["checkpoint"]) for one in facts["repeats"]]
    assert [one["repeat"] for one in kept] == ["1", "2", "3"]
    assert [float(one["score"]) for one in kept] == scores(trial)
    assert len(list(place.checkpoints.rglob("*.safetensors"))) == 3
    best = facts["best_repeat"]
    assert scores(trial)[best - 1] == max(scores(trial))

    storage = open_storage(place.storage)
    found = evaluate_trial(storage, "toy", settings=Settings(device="cpu"))
    assert found.repeat == f"fold {best}"
    assert found.checkpoint == facts["repeats"][best - 1]["checkpoint"]
    assert found.epoch == facts["repeats"][best - 1]["best_epoch"]
    assert found.scores["accuracy"] == max(scores(trial))
    assert found.examples == len(Folds(load(blobs), 3)[best - 1].validation)
    test = evaluate_trial(storage, "toy", part="test", settings=Settings(device="cpu"))
    assert (test.examples, test.test_looks) == (30, 1)


@pytest.mark.slow
def test_curves_of_folds_are_delivered_late_too(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = place.directory / "aside.safetensors"
    discard = Keeper.discard_last

    def keep_aside(keeper: Keeper) -> None:
        shutil.copy(keeper.directory / "last.safetensors", aside)
        discard(keeper)

    monkeypatch.setattr(Keeper, "discard_last", keep_aside)
    place.launch(toy(wobbling, trials=1, epochs=2), folds=2)
    before = place.curves(0)
    with closing(sqlite3.connect(place.directory / "mlflow.db")) as database:
        database.execute("delete from metrics")
        database.execute("delete from latest_metrics")
        database.commit()
    shutil.copy(aside, place.checkpoints.glob("toy/*/trial-00000").__next__() / "last.safetensors")
    storage, study = open_storage(place.storage), place.study()
    told = deliver_late(
        storage,
        Tracker(place.tracking_uri),
        Plan.of(study),
        study,
        Settings(checkpoints=place.checkpoints),
    )
    assert told == [0]
    assert place.curves(0) == before


# -- Budgets and refusals -------------------------------------------------------------------


@pytest.mark.slow
def test_epochs_of_all_folds_count_for_the_budget(place: Place) -> None:
    result = place.launch(
        toy(wobbling, trials=5, epochs=2, early_stopping=None), folds=3, max_epochs_total=13
    )
    assert (result.finished, result.epochs) == (2, 12)
    with pytest.raises(UserError, match=r"no room for one trial.* may train 6 epochs"):
        place.launch(toy(wobbling, trials=1, epochs=2), name="other", folds=3, max_epochs_total=5)


@pytest.mark.slow
def test_folds_are_remembered_and_another_number_is_refused(place: Place) -> None:
    study = toy(wobbling, trials=1, epochs=1)
    place.launch(study, folds=2)
    assert place.launch(study, trials=2).finished == 2
    assert [len(scores(trial)) for trial in place.trials()] == [2, 2]
    with pytest.raises(UserError, match="folds: was 2, is now 3"):
        place.launch(study, folds=3)


def test_folds_that_cannot_be_meant_are_refused(place: Place) -> None:
    seeded = Stage(trials=1, epochs=1, seeds=2)
    with pytest.raises(UserError, match=r"stage 'search' has several seeds.*5 folds"):
        place.launch(toy(wobbling, stages=[seeded]), folds=5)
    with pytest.raises(UserError, match="cannot be dealt out to 1000 folds"):
        place.launch(toy(wobbling), folds=1000)
    with pytest.raises(UserError, match="folds must be at least 1"):
        toy(wobbling, folds=0)
    with pytest.raises(UserError, match="seeds must be at least 1"):
        Stage(seeds=0)
    assert not place.all_runs()
