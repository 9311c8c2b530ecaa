"""Studies damaged in every way that a crash or a person can: each damage is named and put right."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.entities import Metric
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from optuna.trial import TrialState

from nnstudy.search.leases import Leases
from nnstudy.search.storage import open_storage
from nnstudy.training.checkpoints import read_metadata
from tests.launching import InterruptAt, Place, toy
from tests.launching import every_epoch_is_told as every_epoch_is_told

from .conftest import bring_back_last, client, differences, look


def _run_runs_on(place: Place) -> str:
    client(place).update_run(place.run(1).info.run_id, status="RUNNING")
    return "run 1: its run has status RUNNING instead of FINISHED"


def _run_ended_otherwise(place: Place) -> str:
    client(place).set_terminated(place.run(1).info.run_id, "FAILED")
    return "run 1: its run has status FAILED instead of FINISHED"


def _tags_are_those_of_a_running_trial(place: Place) -> str:
    client(place).set_tag(place.run(0).info.run_id, "nnstudy.state", "running")
    client(place).delete_tag(place.run(0).info.run_id, "nnstudy.reason")
    return (
        "run 0: its run has nnstudy.state 'running' instead of 'complete',"
        " nnstudy.reason missing instead of 'epochs'"
    )


def _best_is_another(place: Place) -> str:
    best = Metric("best/epoch", 1.5, int(time.time() * 1000), 0)
    client(place).log_batch(place.run(2).info.run_id, metrics=[best])
    return "run 2: its run has best/epoch 1.5 instead of"


def _best_is_missing(place: Place) -> str:
    run = place.run(2)
    _sql(
        place,
        "delete from latest_metrics where run_uuid = ? and key like 'best/%'",
        run.info.run_id,
    )
    _sql(place, "delete from metrics where run_uuid = ? and key like 'best/%'", run.info.run_id)
    return "run 2: its run has no best/epoch, no best/accuracy/valid"


def _run_deleted(place: Place) -> str:
    client(place).delete_run(place.run(1).info.run_id)
    return "run 1: its run was deleted in MLflow"


def _two_runs(place: Place) -> str:
    first = place.run(1)
    second = client(place).create_run(
        first.info.experiment_id,
        tags={"nnstudy.key": first.data.tags["nnstudy.key"], "nnstudy.kind": "stray"},
    )
    return f"run 1: it has a second run, {second.info.run_id}"


def _run_of_no_trial(place: Place) -> str:
    first = place.run(1)
    key = first.data.tags["nnstudy.key"].replace("/1", "/41")
    tags = {"nnstudy.key": key, "nnstudy.kind": "stray"}
    made = client(place).create_run(first.info.experiment_id, tags=tags)
    return f"run 41: the run {made.info.run_id} belongs to a trial that Optuna does not have"


def _stage_runs_on(place: Place) -> str:
    client(place).update_run(place.stage_run().info.run_id, status="RUNNING")
    return (
        "stage run None: the stage's run is RUNNING, but nobody works on the stage, which is done"
    )


def _stage_run_was_killed(place: Place) -> str:
    client(place).set_terminated(place.stage_run().info.run_id, "KILLED")
    return "stage run None: the stage's run is KILLED, but nobody works on the stage, which is done"


def _stage_run_deleted(place: Place) -> str:
    client(place).delete_run(place.stage_run().info.run_id)
    return "stage run None: the stage's run was deleted"


def _stage_run_gone(place: Place) -> str:
    _delete_for_good(place, place.stage_run().info.run_id)
    return "stage run None: the stage's run is not in MLflow"


def _curve_with_a_hole(place: Place) -> str:
    bring_back_last(place, 1)
    _sql(place, "delete from metrics where run_uuid = ? and step = 2", place.run(1).info.run_id)
    return "curve 1: its curve lacks step 2"


def _curve_cut_short(place: Place) -> str:
    bring_back_last(place, 1)
    _sql(place, "delete from metrics where run_uuid = ? and step = 3", place.run(1).info.run_id)
    return "curve 1: its curve lacks step 3"


def _run_gone_and_state_kept(place: Place) -> str:
    bring_back_last(place, 0)
    _delete_for_good(place, place.run(0).info.run_id)
    return "run 0: it has no run in MLflow"


def _last_state_kept(place: Place) -> str:
    file = bring_back_last(place, 2)
    return f"undelivered 2: {file} was kept because MLflow lacks something"


def _directory_of_no_trial(place: Place) -> str:
    directory = _stage_directory(place) / "trial-00041"
    shutil.copytree(_stage_directory(place) / "trial-00001", directory)
    return f"orphan 41: {directory} belongs to no trial"


def _directory_of_a_stale_worker(place: Place) -> str:
    directory = _stage_directory(place) / "trial-00001"
    bring_back_last(place, 1)
    shutil.copytree(
        directory, directory.with_name("trial-00001.3"), ignore=lambda *_: ["last.safetensors"]
    )
    with closing(sqlite3.connect(place.directory / "optuna.db")) as database, database:
        database.execute("update nnstudy_leases set token = 3 where trial_id = 2")
        database.execute(
            "update trial_user_attributes set value_json ="
            " replace(value_json, '/trial-00001/', '/trial-00001.3/')"
        )
    return f"orphan 1: {directory} was left by a worker that lost it"


def _temporary_file(place: Place) -> str:
    file = _stage_directory(place) / "trial-00001" / ".last.safetensors.0123456789abcdef.tmp"
    file.write_bytes(b"half")
    os.utime(file, (time.time() - 3600,) * 2)
    return f"orphan 1: {file} was left half written"


def _lease_still_held(place: Place) -> str:
    assert Leases(open_storage(place.storage), "gone:1", 600).take(place.trials()[1]._trial_id)
    return "lease 1: it is finished, but gone:1 holds its lease"


FIXABLE = [
    _run_runs_on,
    _run_ended_otherwise,
    _tags_are_those_of_a_running_trial,
    _best_is_another,
    _best_is_missing,
    _run_deleted,
    _two_runs,
    _run_of_no_trial,
    _stage_runs_on,
    _stage_run_was_killed,
    _stage_run_deleted,
    _stage_run_gone,
    _curve_with_a_hole,
    _curve_cut_short,
    _run_gone_and_state_kept,
    _last_state_kept,
    _directory_of_no_trial,
    _directory_of_a_stale_worker,
    _temporary_file,
    _lease_still_held,
]


@pytest.mark.slow  # all together
@pytest.mark.parametrize("damage", FIXABLE, ids=lambda damage: damage.__name__[1:])
def test_damage_is_named_and_put_right(damage: Callable[[Place], str], launched: Place) -> None:
    before = _what_matters(launched)
    expected = damage(launched)
    assert any(found.startswith(expected) for found in differences(look(launched)))
    assert differences(look(launched, fix=True)) == []
    assert look(launched) == []
    assert _what_matters(launched) == before


def test_all_damages_at_once_are_put_right(launched: Place) -> None:
    before = _what_matters(launched)
    others = {_run_deleted, _run_ended_otherwise, _stage_run_gone, _stage_run_deleted}
    for damage in [d for d in FIXABLE if d not in {*others, _directory_of_a_stale_worker}]:
        damage(launched)
    assert len(differences(look(launched))) > 8
    assert differences(look(launched, fix=True)) == []
    assert look(launched) == []
    assert _what_matters(launched) == before


def _weights_gone(place: Place) -> str:
    for file in (_stage_directory(place) / "trial-00002").iterdir():
        file.unlink()
    return "weights 2: its weights cannot be had: there is no checkpoint"


def _weights_damaged(place: Place) -> str:
    [file] = (_stage_directory(place) / "trial-00002").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    return f"weights 2: its weights cannot be had: the file {file} is damaged"


def _step_twice(place: Place) -> str:
    run_id = place.run(1).info.run_id
    client(place).log_batch(run_id, metrics=[Metric("epoch", 2.0, 12345, 2)])
    return "curve 1: its curve has more than one value at step 2"


def _curve_with_a_hole_for_good(place: Place) -> str:
    _sql(place, "delete from metrics where run_uuid = ? and step < 3", place.run(1).info.run_id)
    return "curve 1: its curve lacks steps 1-2"


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [_weights_gone, _weights_damaged, _step_twice, _curve_with_a_hole_for_good],
    ids=lambda damage: damage.__name__[1:],
)
def test_what_nobody_can_bring_back_is_named_and_stays(
    damage: Callable[[Place], str], launched: Place
) -> None:
    expected = damage(launched)
    [found] = look(launched)
    assert differences([found])[0].startswith(expected)
    assert not found.finding.fixable
    assert look(launched, fix=True) == [found]


def test_a_run_that_is_gone_is_made_of_what_is_still_known(launched: Place) -> None:
    before = launched.run(1)
    _delete_for_good(launched, before.info.run_id)
    left = differences(look(launched, fix=True))
    again = launched.run(1)
    assert left == []
    assert differences(look(launched)) == ["curve 1: its curve lacks steps 1-3"]
    assert again.data.params == before.data.params
    assert again.info.status == "FINISHED"
    assert again.data.metrics["best/accuracy/valid"] == launched.trials()[1].value


@pytest.mark.slow
def test_a_second_run_gives_the_first_what_only_it_has(launched: Place) -> None:
    _two_runs(launched)
    first, second = sorted(
        (run for run in launched.all_runs() if run.data.tags["nnstudy.key"].endswith("/1")),
        key=lambda run: run.info.start_time,
    )
    for table in ("metrics", "latest_metrics"):
        _sql(
            launched,
            f"update {table} set run_uuid = ? where run_uuid = ? and step = 3",
            second.info.run_id,
            first.info.run_id,
        )
    assert "curve 1: its curve lacks step 3" in differences(look(launched))
    look(launched, fix=True)
    assert look(launched) == []
    assert [step for step, _ in launched.curves(1)["epoch"]] == [1, 2, 3]


@pytest.mark.slow
def test_a_trial_that_was_started_again_keeps_the_steps_of_its_first_start(
    launched: Place,
) -> None:
    run_id = launched.run(1).info.run_id
    _sql(launched, "delete from metrics where run_uuid = ? and step = 3", run_id)
    _sql(
        launched,
        "update metrics set timestamp = timestamp - 60000 where run_uuid = ? and step in (1, 2)",
        run_id,
    )
    bring_back_last(launched, 1)
    assert differences(look(launched, fix=True)) == []
    assert look(launched) == []
    assert [step for step, _ in launched.curves(1)["loss/train"]] == [1, 2, 3]


@pytest.mark.usefixtures("every_epoch_is_told")
def test_an_interrupted_trial_waits_and_its_run_does_not_run(place: Place) -> None:
    interrupting = InterruptAt(trial=1, epoch=2)
    place.launch(toy(epochs=6), hear=interrupting, interruption=interrupting.interruption)
    files = sorted(place.checkpoints.rglob("*"))
    assert place.run(1).info.status == "RUNNING"
    kinds = {one.finding.kind: one for one in look(place)}
    assert set(kinds) == {"run", "waiting"}
    assert kinds["run"].finding.text == "its run is RUNNING, but nobody works on the trial"
    assert not kinds["waiting"].remains
    look(place, fix=True)
    assert [one.finding.kind for one in look(place)] == ["waiting"]
    assert place.run(1).info.status == "KILLED"
    assert sorted(place.checkpoints.rglob("*")) == files
    place.launch(toy(epochs=6))
    assert look(place) == []
    assert place.run(1).info.status == "FINISHED"
    assert [step for step, _ in place.curves(1)["epoch"]] == [1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("every_epoch_is_told")
def test_a_trial_that_somebody_works_on_is_left_alone(place: Place) -> None:
    interrupting = InterruptAt(trial=1, epoch=2)
    place.launch(toy(epochs=6), hear=interrupting, interruption=interrupting.interruption)
    trial = place.trials()[1]
    assert trial.state is TrialState.RUNNING
    assert Leases(open_storage(place.storage), "alive:1", 600).take(trial._trial_id)
    client(place).update_run(place.stage_run().info.run_id, status="RUNNING")
    [directory] = place.checkpoints.glob("toy/*/trial-00001*")
    shutil.copytree(directory, directory.with_name("trial-00001.9"))
    before = place.dump(), sorted(place.checkpoints.rglob("*"))
    assert look(place, fix=True) == []
    assert (place.dump(), sorted(place.checkpoints.rglob("*"))) == before


def test_without_fix_nothing_is_changed(launched: Place) -> None:
    for damage in (_run_runs_on, _best_is_another, _directory_of_no_trial, _lease_still_held):
        damage(launched)
    bring_back_last(launched, 2)
    before = launched.dump(), sorted(launched.directory.rglob("*[!ml]"))
    assert len(differences(look(launched))) == 5
    assert (launched.dump(), sorted(launched.directory.rglob("*[!ml]"))) == before


def test_what_is_over_at_the_second_look_does_not_count(
    launched: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run_runs_on(launched)
    run_id = launched.run(1).info.run_id
    monkeypatch.setattr(
        "nnstudy.doctor.comparison.time.sleep",
        lambda _: client(launched).set_terminated(run_id, "FINISHED"),
    )
    assert look(launched) == []


@pytest.mark.slow
def test_weights_of_another_database_are_a_stranger(launched: Place) -> None:
    other = _stage_directory(launched).with_name("search-abcdef")
    shutil.copytree(_stage_directory(launched), other)
    [found] = look(launched, fix=True)
    assert found.finding.kind == "stranger"
    assert not found.remains
    assert len(list(other.rglob("*.safetensors"))) == 3


def _what_matters(place: Place) -> object:
    """Trials, curves, tags and weights, as they were before any damage."""
    runs = [place.run(number) for number in range(3)]
    return (
        [(trial.number, trial.state, trial.value, trial.params) for trial in place.trials()],
        [place.curves(number)["epoch"] for number in range(3)],
        [place.curves(number)["accuracy/valid"] for number in range(3)],
        [run.info.status for run in runs],
        [{k: v for k, v in run.data.metrics.items() if k.startswith("best/")} for run in runs],
        [{k: run.data.tags[k] for k in ("nnstudy.state", "nnstudy.reason")} for run in runs],
        [run.data.params for run in runs],
        place.stage_run().info.status,
        [
            # The lease that a trial was ended with is part of its directory's name.
            (file.parent.name.partition(".")[0], file.name, read_metadata(file))
            for file in sorted(place.checkpoints.rglob("*.safetensors"))
        ],
        len(list(place.checkpoints.rglob("*"))),
    )


def _stage_directory(place: Place) -> Path:
    [directory] = place.checkpoints.glob("toy/search-*")
    return directory


def _sql(place: Place, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(place.directory / "mlflow.db")) as database, database:
        database.execute(statement, values)


def _delete_for_good(place: Place, run_id: str) -> None:
    store = SqlAlchemyStore(place.tracking_uri, str(place.directory / "artifacts"))
    store._hard_delete_run(run_id)
