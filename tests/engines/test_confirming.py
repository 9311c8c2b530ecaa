"""Confirming a search: real trainings of the best configurations, and what is told of them."""

from __future__ import annotations

import json
import math
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState

from nnstudy import Recipe, Stage, Study
from nnstudy.data import Data
from nnstudy.engines import ConfirmResult, confirm, join
from nnstudy.errors import UserError
from nnstudy.report import spoilt_tests, study_status
from nnstudy.search import test_looks as looks
from nnstudy.search.confirmation.outcome import seed_noise
from nnstudy.search.confirmation.words import conclusion, remarks
from nnstudy.search.evaluation import evaluate_trial
from nnstudy.search.interruption import Interruption
from nnstudy.search.settings import Settings
from nnstudy.search.storage import open_storage
from nnstudy.search.test_looks import test_looks as looks_at_test
from nnstudy.tracking import Tracker
from tests.launching import InterruptAt, Place, network, toy

CONFIRM = "toy/confirm"


def drawing(trial: optuna.Trial, data: Data) -> Recipe:
    """Notes a random number, which tells seeds apart."""
    lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
    trial.set_user_attr("drawn", float(torch.rand(1)))
    return Recipe(network=network(data), optimizer=partial(torch.optim.SGD, lr=lr), batch_size=32)


def confirm_at(
    place: Place,
    study: Study | str | None,
    *,
    interruption: Interruption | None = None,
    **options: Any,
) -> ConfirmResult:
    """Confirms ``toy`` with one worker, and collects the events."""
    place.events.clear()
    return confirm(
        "toy",
        study=study,
        emit=options.pop("hear", None) or place.events.append,
        interruption=interruption,
        **{"workers": 1, **place.options(), **options},
    )


@pytest.fixture
def searched(place: Place) -> Study:
    study = toy(drawing, trials=4, epochs=1)
    place.launch(study)
    return study


def test_best_configurations_are_trained_with_shared_seeds_and_told_of(
    place: Place, searched: Study
) -> None:
    result = confirm_at(place, searched, top=2, seeds=3)
    assert result.complete
    best = sorted(place.trials(), key=lambda trial: -(trial.value or 0))[:2]
    trials = place.trials(CONFIRM)
    assert [trial.params for trial in trials] == [trial.params for trial in best] * 3

    # The n-th training of each configuration draws the same, and nothing that the search drew.
    drawn = [trial.user_attrs["drawn"] for trial in trials]
    assert drawn[::2] == drawn[1::2]
    assert len({*drawn, *(trial.user_attrs["drawn"] for trial in place.trials())}) == 3 + 4

    # Means are those of the new trainings alone.
    told = {one["trial"]: one for one in result.describe()["configurations"]}
    for place_in_search, trial in enumerate(best):
        values = [one.value for one in trials[place_in_search::2]]
        assert told[trial.number]["scores"] == values
        assert told[trial.number]["mean"] == pytest.approx(statistics.fmean(values))
    noise = seed_noise(open_storage(place.storage), "toy")
    assert noise == result.confirmation.comparison.noise
    assert noise == pytest.approx(
        statistics.fmean(one["deviation"] ** 2 for one in told.values()) ** 0.5
    )

    # Cost beforehand, runs and result in MLflow.
    assert "2 configurations of stage 'search' with 3 seeds each: 6 trainings" in " ".join(
        place.texts("message")
    )
    [cost] = [event.values for event in place.events if event.kind == "cost"]
    assert (cost["trials"], cost["epochs"]) == (6, 6)
    parent = place.stage_run("confirm")
    runs = [place.run(trial.number, "confirm") for trial in trials]
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent.info.run_id}
    assert [
        (run.data.tags["nnstudy.confirms"], run.data.tags["nnstudy.seed_index"]) for run in runs
    ] == [(str(trial.number), str(seed)) for seed in range(3) for trial in best]
    assert conclusion(result.confirmation) in parent.data.tags["mlflow.note.content"]
    client = Tracker(place.tracking_uri).client
    file = client.download_artifacts(parent.info.run_id, "confirmation.json", place.directory)
    kept = json.loads(Path(file).read_text())
    assert kept["configurations"] == json.loads(json.dumps(result.describe()["configurations"]))


def test_test_part_is_looked_at_once_with_the_networks_of_the_first(
    place: Place, searched: Study
) -> None:
    assert confirm_at(place, searched, top=2, seeds=2, test=False).test is None
    assert looks_at_test(place.study(CONFIRM)) == []

    result = confirm_at(place, searched, top=2, seeds=2)
    first = result.confirmation.first
    assert result.test is not None
    assert first is not None
    assert (result.test.trial, result.test_looks) == (first.trial, 1)
    numbers = [trial.number for trial in result.confirmation.of(first)]
    storage = open_storage(place.storage)
    [look] = looks_at_test(place.study(CONFIRM))
    assert look["trials"] == numbers
    assert [score["accuracy"] for score in look["scores"]] == [
        score["accuracy"] for score in result.test.scores
    ]
    assert f"trial {first.trial}" in place.stage_run("confirm").data.tags["mlflow.note.content"]
    assert spoilt_tests(study_status(storage)) == {}

    # Neither does it look again, nor for a result that has changed since.
    assert confirm_at(place, searched, top=2, seeds=2).test == result.test
    later = confirm_at(place, searched, top=2, seeds=3)
    assert later.test == result.test
    assert later.is_test_outdated
    assert later.test_looks == 1


@pytest.mark.slow
def test_look_that_was_broken_off_is_completed_and_counts_once(
    place: Place, searched: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nnstudy.search.confirmation.look.complete_look", die)
        with pytest.raises(KeyboardInterrupt):
            confirm_at(place, searched, top=2, seeds=2)
    assert [*looks_at_test(place.study(CONFIRM))[0]] == ["when", "trial", "trials"]
    result = confirm_at(place, searched, top=2, seeds=2)
    assert result.test is not None
    assert result.test_looks == 1


@pytest.mark.slow
def test_looks_of_all_stages_are_counted_together(place: Place, searched: Study) -> None:
    storage = open_storage(place.storage)
    looks.record_look(storage, place.study(), {"trial": 0})
    result = confirm_at(place, searched, top=1, seeds=2)
    assert result.test_looks == 2
    assert spoilt_tests(study_status(storage)) == {"toy": 2}


@pytest.mark.slow
@pytest.mark.usefixtures("every_epoch_is_told")
def test_interrupted_confirmation_goes_on_where_it_was(place: Place, searched: Study) -> None:
    hear = InterruptAt(trial=2)
    result = confirm_at(place, searched, top=2, seeds=3, hear=hear, interruption=hear.interruption)
    assert not result.complete
    assert "of 6 trainings are finished" in conclusion(result.confirmation)
    assert looks_at_test(place.study(CONFIRM)) == []
    [_, status] = study_status(open_storage(place.storage), "toy")
    assert (status.kind, status.trials) == ("confirm", 6)

    result = confirm_at(place, searched, top=2, seeds=3)
    assert result.complete
    assert len(place.trials(CONFIRM)) == 6


@pytest.mark.slow
def test_more_seeds_are_added_to_those_there_are_and_fewer_change_nothing(
    place: Place, searched: Study
) -> None:
    first = confirm_at(place, searched, top=2, seeds=2)
    assert remarks(first.confirmation) == []
    more = confirm_at(place, searched, top=2, seeds=3)
    assert len(place.trials(CONFIRM)) == 6
    for before, after in zip(
        sorted(first.describe()["configurations"], key=lambda one: one["trial"]),
        sorted(more.describe()["configurations"], key=lambda one: one["trial"]),
        strict=True,
    ):
        assert after["scores"][:2] == before["scores"]
    assert "told with 2 seeds before" in remarks(more.confirmation)[0]
    fewer = confirm_at(place, searched, top=2, seeds=2)
    assert fewer.confirmation.selection.seeds == 3
    assert "given 3 seeds before, all of which count" in " ".join(place.texts("message"))


@pytest.mark.slow
def test_launching_again_is_not_confused_by_a_confirmation(place: Place, searched: Study) -> None:
    confirm_at(place, searched, top=2, seeds=2)
    result = place.launch(toy(drawing, trials=5, epochs=1), trials=5)
    assert result.complete
    assert (result.finished, result.trials, result.stage) == (5, 5, "search")
    assert len(place.trials(CONFIRM)) == 4


@pytest.mark.slow
def test_epochs_of_a_confirmation_are_not_those_of_the_search(place: Place) -> None:
    study = toy(drawing, trials=3, epochs=1)
    place.launch(study, max_epochs_total=4)
    assert confirm_at(place, study, top=2, seeds=3).complete
    result = place.launch(study, trials=9)
    assert (result.finished, result.epochs) == (4, 4)


STUDY_FILE = """
from tests.engines.test_confirming import drawing
from tests.launching import toy

study = toy(drawing, trials=3, epochs=2)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("every_epoch_is_told")
def test_worker_joins_a_confirmation_and_best_of_the_search_is_still_evaluated(
    place: Place,
) -> None:
    file = place.directory / "study.py"
    file.write_text(STUDY_FILE)
    place.launch(str(file))
    hear = InterruptAt(trial=1)
    confirm_at(place, None, top=2, seeds=2, hear=hear, interruption=hear.interruption)
    joined = join("toy", **place.options())
    assert joined.complete
    assert joined.ended == 3
    result = confirm_at(place, None, top=2, seeds=2)
    assert result.complete
    assert not [event for event in place.events if event.kind == "end"]
    settings = Settings(device="cpu", checkpoints=place.checkpoints)
    assert evaluate_trial(open_storage(place.storage), "toy", settings=settings).stage == "search"


def failing(trial: optuna.Trial, data: Data) -> Recipe:
    """The best configuration fails with its second seed, and diverges with its third."""
    lr = trial.suggest_categorical("lr", [0.1, 1e-6])
    member = trial.user_attrs.get("nnstudy:confirms", {})
    if lr == 0.1 and member.get("seed") == 1:
        raise ValueError("out of luck")
    rate = math.inf if lr == 0.1 and member.get("seed") == 2 else lr
    return Recipe(network=network(data), optimizer=partial(torch.optim.SGD, lr=rate), batch_size=32)


@pytest.mark.slow
def test_configuration_with_failed_trainings_is_told_as_such_and_cannot_win(place: Place) -> None:
    study = toy(failing, trials=2, epochs=2, start=[{"lr": 0.1}, {"lr": 1e-6}])
    place.launch(study)
    result = confirm_at(place, study, top=2, seeds=3)
    assert result.complete
    good, poor = result.describe()["configurations"][::-1]
    assert (good["params"], good["failures"][0]) == ({"lr": 0.1}, "ValueError: out of luck")
    assert "diverged" in good["failures"][1]
    assert good["scores"][1:] == [None, None]
    assert result.confirmation.first is not None
    assert result.confirmation.first.trial == poor["trial"]
    assert result.describe()["best"] is None
    assert "2 of 3 trainings did not complete" in remarks(result.confirmation)[0]
    assert "nothing to compare it with" in conclusion(result.confirmation)
    assert result.test is not None
    assert result.test.trial == poor["trial"]


@pytest.mark.slow
def test_a_clear_winner_is_called(place: Place) -> None:
    study = toy(choosing, trials=2, epochs=3, start=[{"lr": 0.3}, {"lr": 1e-5}])
    place.launch(study)
    result = confirm_at(place, study, top=5, seeds=5)
    assert "has 2 different complete configurations, not 5" in " ".join(place.texts("message"))
    assert result.describe()["best"] == 0
    assert conclusion(result.confirmation).startswith("trial 0 is better than trial 1: 0.")
    [_, status] = study_status(open_storage(place.storage), "toy")
    assert status.conclusion == conclusion(result.confirmation)


def choosing(trial: optuna.Trial, data: Data) -> Recipe:
    lr = trial.suggest_categorical("lr", [0.3, 1e-5])
    return Recipe(network=network(data), optimizer=partial(torch.optim.SGD, lr=lr), batch_size=16)


def test_what_cannot_be_confirmed_is_refused_and_leaves_nothing(place: Place) -> None:
    study = toy(choosing, trials=2, epochs=1)
    with pytest.raises(UserError, match="No study is stored"):
        confirm_at(place, study)
    place.launch(study)
    for trial in place.trials():
        assert trial.state is TrialState.COMPLETE
    for wrong, message in (
        ({"top": 0}, "--top 0"),
        ({"seeds": 1}, "at least 2 seeds: --seeds 1"),
        ({"stage": "fine"}, "no stage 'fine' to confirm; it has: search"),
    ):
        with pytest.raises(UserError, match=message):
            confirm_at(place, study, **wrong)
    missing = f"sqlite:///{place.directory / 'none.db'}"
    with pytest.raises(UserError, match="has no runs of the study"):
        confirm_at(place, study, tracking_uri=missing)
    with pytest.raises(UserError, match="the stages coarse"):
        confirm_at(place, toy(choosing, stages=[Stage("coarse")]))
    assert len(optuna.get_all_study_names(place.storage)) == 1


def test_no_stage_may_have_the_name_of_a_confirmation() -> None:
    for name in ("confirm", "confirm-fine"):
        with pytest.raises(UserError, match="cannot be named"):
            toy(choosing, stages=[Stage(name)])
    assert toy(choosing, stages=[Stage("confirmed")]).stages[0].name == "confirmed"
