"""Joining a stored study: what is refused, and what a worker goes on with."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from nnstudy.engines import join
from nnstudy.engines.joining import JoinResult
from nnstudy.errors import UserError
from nnstudy.search.events import Event
from nnstudy.search.interruption import Interruption
from nnstudy.tracking import Tracker
from tests.launching import InterruptAt, Place, make_place

STUDY_FILE = """
from functools import partial

import torch

from nnstudy import Recipe, Stage, Study
from tests.launching import blobs, network


def recipe(trial, data):
    return Recipe(
        network=network(data, dropout=0.3),
        optimizer=partial(torch.optim.SGD, lr=trial.suggest_float("lr", 0.01, 0.1), momentum=0.9),
        batch_size=16,
    )


study = Study(
    "toy", recipe, data=blobs, early_stopping=None,
    stages=[Stage(trials=3, epochs=4, sampler="random", pruner="none")],
)
"""


def write_study(directory: Path, *changes: tuple[str, str]) -> str:
    text = STUDY_FILE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "study.py"
    file.write_text(text)
    return str(file)


def join_at(place: Place, *, settings: dict[str, Any] | None = None, **options: Any) -> JoinResult:
    """Joins ``toy`` as one more worker, and collects the events."""
    place.events.clear()
    return join(
        "toy",
        **{"emit": place.events.append, **place.options(**(settings or {})), **options},
    )


def launch_until(place: Place, study: str, trial: int, epoch: int, **settings: Any) -> None:
    """Launches a study and leaves it after an epoch of a trial."""
    at = InterruptAt(trial, epoch)
    place.launch(study, hear=at, interruption=at.interruption, settings=settings)


@pytest.fixture
def begun(place: Place, every_epoch_is_told: None) -> Place:
    """A study of which one trial is finished and another one has two of its four epochs."""
    launch_until(place, write_study(place.directory), trial=1, epoch=2)
    assert [trial.state for trial in place.trials()] == [TrialState.COMPLETE, TrialState.RUNNING]
    return place


@pytest.fixture
def undisturbed(new_place: Callable[[str], Place]) -> Place:
    place = new_place("undisturbed")
    place.launch(write_study(place.directory))
    return place


def assert_as_if_undisturbed(place: Place, undisturbed: Place) -> None:
    """The numbers of every trial, and no step twice."""
    for trial, expected in zip(place.trials(), undisturbed.trials(), strict=True):
        assert (trial.state, trial.params, trial.value) == (
            expected.state,
            expected.params,
            expected.value,
        )
        assert place.numbers(trial.number) == undisturbed.numbers(trial.number)


def begun_at(place: Place) -> dict[int, float]:
    """After which epoch each trial was begun."""
    return {e.values["trial"]: e.values["epoch"] for e in place.events if e.kind == "trial"}


# -- Going on -------------------------------------------------------------------------------


def test_a_worker_goes_on_where_a_launch_has_ended(begun: Place, undisturbed: Place) -> None:
    result = join_at(begun)
    assert result == JoinResult("toy", complete=True, timed_out=False, ended=2)
    assert begun_at(begun) == {1: 2, 2: 0}
    assert_as_if_undisturbed(begun, undisturbed)
    assert begun.stage_run().info.status == "FINISHED"
    # Nothing is left to do for another one.
    assert join_at(begun).ended == 0


@pytest.mark.postgres
@pytest.mark.usefixtures("every_epoch_is_told")
def test_a_worker_goes_on_on_postgres_without_telling_the_password(
    fresh_mlflow: Path, tmp_path: Path, postgres_url: str, postgres_server: Any
) -> None:
    place = make_place(tmp_path / "place", fresh_mlflow, postgres_url)
    launch_until(place, write_study(place.directory), trial=1, epoch=2)
    assert join_at(place).complete
    assert begun_at(place) == {1: 2, 2: 0}
    assert postgres_server.password not in "".join(event.to_json() for event in place.events)


def test_a_worker_may_have_its_study_elsewhere(begun: Place, undisturbed: Place) -> None:
    elsewhere = write_study(begun.directory / "elsewhere")
    Path(begun.directory / "study.py").unlink()
    with pytest.raises(UserError, match="say where its file is here with --study") as refused:
        join_at(begun)
    assert "There is no study file" in str(refused.value)
    assert join_at(begun, study=elsewhere).complete
    assert_as_if_undisturbed(begun, undisturbed)


def test_a_trial_whose_checkpoint_cannot_be_reached_starts_again_in_its_run(
    begun: Place, undisturbed: Place
) -> None:
    run_id = begun.run(1).info.run_id
    elsewhere = begun.directory / "elsewhere"
    assert join_at(begun, settings={"checkpoints": elsewhere}).complete
    (text,) = (text for text in begun.texts("message") if "starts again" in text)
    assert text.startswith("trial 1 starts again: it has no checkpoint in")
    assert str(elsewhere) in text
    assert begun_at(begun) == {1: 0, 2: 0}
    assert begun.run(1).info.run_id == run_id
    assert_as_if_undisturbed(begun, undisturbed)


@pytest.mark.usefixtures("every_epoch_is_told")
def test_a_worker_goes_on_from_the_artifacts_of_mlflow(place: Place, undisturbed: Place) -> None:
    launch_until(place, write_study(place.directory), trial=1, epoch=2, upload=True)
    shutil.rmtree(place.checkpoints)
    result = join_at(place, settings={"upload": True, "checkpoints": place.directory / "other"})
    assert result.complete
    assert begun_at(place) == {1: 2, 2: 0}
    assert not [text for text in place.texts("message") if "starts again" in text]
    assert_as_if_undisturbed(place, undisturbed)


def test_a_worker_whose_time_is_over_leaves_the_rest_to_others(begun: Place) -> None:
    interruption = Interruption()

    def hear(event: Event) -> None:
        if event.kind == "trial":
            time.sleep(1.5)  # longer than the worker has

    result = join_at(begun, emit=hear, interruption=interruption, timeout=1.0)
    assert (result.complete, result.timed_out, result.ended) == (False, True, 0)
    assert join_at(begun).complete


# -- Refusals -------------------------------------------------------------------------------

SECOND_STAGE = "stages=[Stage(trials=3, epochs=4, sampler='random', pruner='none'), Stage('fine')]"
STAGE = 'stages=[Stage(trials=3, epochs=4, sampler="random", pruner="none")]'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.01, 0.1", "0.01, 0.2", "lr"),
        ('"lr"', '"rate"', "rate"),
        ('"toy", recipe', '"toy", recipe, metric="loss/valid"', "metric: was accuracy/valid"),
        (STAGE, SECOND_STAGE, "the stages search, fine, the stored one has search"),
        ("epochs=4", "epochs=5", "epochs: was 4, is now 5"),
        ("data=blobs", "data=lambda: blobs(90)", "the examples are not the same"),
        ("data=blobs", "data=blobs, seed=7", "seed: was 0, is now 7"),
    ],
    ids=["space", "parameter", "metric", "stages", "epochs", "data", "seed"],
)
def test_a_study_that_differs_from_the_stored_one_is_refused_with_how(
    begun: Place, old: str, new: str, said: str
) -> None:
    before = begun.trials()
    other = write_study(begun.directory / "elsewhere", (old, new))
    with pytest.raises(UserError) as refused:
        join_at(begun, study=other)
    assert said in str(refused.value)
    assert begun.trials() == before


def test_a_study_that_is_not_stored_is_refused_with_those_that_are(begun: Place) -> None:
    with pytest.raises(UserError, match="no study 'other' is stored here; stored are: toy"):
        join("other", **begun.options())
    empty = f"sqlite:///{begun.directory / 'no' / 'such.db'}"
    with pytest.raises(UserError, match="No study is stored at"):
        join("toy", **{**begun.options(), "storage": empty})
    assert not (begun.directory / "no").exists()


def test_another_mlflow_is_refused(begun: Place, new_place: Callable[[str], Place]) -> None:
    other = new_place("other")
    with pytest.raises(UserError, match="give the --tracking-uri that it was launched with"):
        join_at(begun, tracking_uri=other.tracking_uri)
    assert Tracker(other.tracking_uri).client.search_experiments()[0].name == "Default"


def test_an_mlflow_that_is_not_there_is_refused_and_not_made(begun: Place) -> None:
    missing = begun.directory / "missing.db"
    with pytest.raises(UserError, match="--tracking-uri"):
        join_at(begun, tracking_uri=f"sqlite:///{missing}")
    assert not missing.exists()


@pytest.mark.parametrize("timeout", [0.0, -1.0])
def test_no_time_at_all_is_refused(begun: Place, timeout: float) -> None:
    with pytest.raises(UserError, match="--timeout must be above 0"):
        join_at(begun, timeout=timeout)


# -- Handing back ---------------------------------------------------------------------------


def test_a_worker_that_hands_back_leaves_the_rest_to_others(
    begun: Place, undisturbed: Place
) -> None:
    interruption = Interruption()

    def hear(event: Event) -> None:
        if event.kind == "trial":
            interruption.hand_back()

    result = join_at(begun, emit=hear, interruption=interruption)
    assert (result.complete, result.ended) == (False, 0)
    assert join_at(begun).complete
    assert_as_if_undisturbed(begun, undisturbed)
