from __future__ import annotations

import datetime
import time

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from nnstudy.errors import UserError
from nnstudy.report import study_status
from nnstudy.search import requests
from nnstudy.search.leases import Leases
from nnstudy.search.plan import Plan
from nnstudy.search.storage import open_storage


def _make_stage(storage: RDBStorage, stage: str = "search", *, position: int = 0) -> optuna.Study:
    study = optuna.create_study(study_name=f"mine/{stage}", storage=storage, direction="maximize")
    Plan(
        study="mine",
        stage=stage,
        position=position,
        reference="mine",
        trials=6,
        epochs=10,
        sampler={"name": "random", "options": {}},
        pruner={"name": "none", "options": {}},
        seed=0,
        metric="accuracy/valid",
        direction="maximize",
        validate_every=None,
        split={},
        subset={},
        data={"name": "digits", "digest": "", "examples": {}},
        space={"version": 1, "parameters": {}},
    ).save(study)
    return study


def _finish(study: optuna.Study, leases: Leases, value: float | None, ended: str) -> None:
    trial = study.ask({"lr": FloatDistribution(0, 1)})
    lease = leases.take(trial._trial_id)
    assert lease is not None
    trial.set_user_attr("nnstudy", {"ended": ended})
    state = {"complete": None, "failed": TrialState.FAIL}.get(ended, TrialState.PRUNED)
    if value is not None:
        trial.report(value, 1)
    study.tell(trial, value if state is None else None, state)
    lease.release()


def test_states_best_and_running_trials_are_told(any_storage_url: str) -> None:
    storage = open_storage(any_storage_url)
    study = _make_stage(storage)
    leases = Leases(storage, "host:1")
    _finish(study, leases, 0.5, "complete")
    _finish(study, leases, 0.9, "complete")
    _finish(study, leases, 0.95, "pruned")
    _finish(study, leases, None, "diverged")
    _finish(study, leases, None, "failed")
    running = study.ask({"lr": FloatDistribution(0, 1)})
    running.report(0.3, 1)
    running.report(0.4, 7)
    leases.take(running._trial_id)
    dead = study.ask({"lr": FloatDistribution(0, 1)})
    lease = leases.take(dead._trial_id)
    assert lease is not None
    lease.release()
    study.ask()  # begun by a worker that died before it took the lease
    study.enqueue_trial({"lr": 0.5})

    [status] = study_status(storage, "mine")

    assert status.finished == 5
    assert status.states == {
        "complete": 2,
        "pruned": 1,
        "diverged": 1,
        "failed": 1,
        "running": 1,
        "interrupted": 2,
        "waiting": 1,
    }
    assert status.best is not None
    assert (status.best.trial, status.best.value) == (1, 0.9)
    assert status.best.params == study.trials[1].params
    [trial] = status.running
    assert (trial.trial, trial.epoch, trial.value, trial.worker) == (5, 7, 0.4, "host:1")
    assert 0 <= trial.age_seconds < 60
    assert trial.params == running.params
    assert status.seconds_left is not None
    assert not status.stopping


def test_time_left_leaves_out_trials_that_lay_about(sqlite_url: str) -> None:
    storage = open_storage(sqlite_url)
    study = _make_stage(storage)
    leases = Leases(storage, "host:1")
    hour = datetime.timedelta(hours=1)
    now = datetime.datetime.now()
    for duration, owners in ((hour, 1), (24 * hour, 2)):
        study.add_trial(
            optuna.trial.FrozenTrial(
                number=-1,
                trial_id=-1,
                state=TrialState.COMPLETE,
                value=0.5,
                datetime_start=now - duration,
                datetime_complete=now,
                params={},
                distributions={},
                user_attrs={},
                system_attrs={},
                intermediate_values={},
            )
        )
        for _ in range(owners):
            lease = leases.take(study.trials[-1]._trial_id)
            assert lease is not None
            lease.release()
    leases.take(study.ask()._trial_id)
    [status] = study_status(storage)
    # Four trials are left, of which one has just begun, and one worker lives.
    assert status.seconds_left == pytest.approx(4 * 3600, abs=30)


def test_nobody_at_work_means_no_time_left_is_known(sqlite_url: str) -> None:
    storage = open_storage(sqlite_url)
    _finish(_make_stage(storage), Leases(storage, "host:1"), 0.5, "complete")
    [status] = study_status(storage)
    assert status.seconds_left is None


def test_a_lease_that_ran_out_is_no_live_worker(sqlite_url: str) -> None:
    storage = open_storage(sqlite_url)
    study = _make_stage(storage)
    Leases(storage, "host:1", seconds=0.05).take(study.ask()._trial_id)
    time.sleep(0.1)
    [status] = study_status(storage)
    assert status.running == []
    assert status.states["interrupted"] == 1


def test_a_request_to_stop_is_shown(sqlite_url: str) -> None:
    storage = open_storage(sqlite_url)
    study = _make_stage(storage)
    requests.stop_study(study)
    assert study_status(storage)[0].stopping
    requests.resume(study)
    assert not study_status(storage)[0].stopping


def test_stages_come_in_their_order_and_other_peoples_studies_are_left_out(
    sqlite_url: str,
) -> None:
    storage = open_storage(sqlite_url)
    _make_stage(storage, "fine", position=1)
    _make_stage(storage, "coarse", position=0)
    optuna.create_study(study_name="somebody else's", storage=storage)
    assert [status.stage for status in study_status(storage)] == ["coarse", "fine"]
    with pytest.raises(UserError, match="stored are: mine"):
        study_status(storage, "other")


def test_an_empty_storage_has_no_status_and_gets_no_table(sqlite_url: str) -> None:
    storage = open_storage(sqlite_url)
    assert study_status(storage) == []
    with storage.engine.connect() as connection:
        tables = connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all()
    assert "nnstudy_leases" not in tables


def test_verdicts_are_counted_and_told_for_each_ended_trial(any_storage_url: str) -> None:
    storage = open_storage(any_storage_url)
    study = _make_stage(storage)
    verdict = {"name": "diverged", "evidence": "at epoch 1", "advice": "Lower.", "figures": {}}
    for lr in (0.1, 0.2, 0.3, 0.4, 0.25, 0.8, 0.9, 0.7):
        trial = study.ask({"lr": FloatDistribution(lr, lr)})
        trial.report(lr, 1)
        diverged = lr > 0.5
        given = [verdict if diverged else {**verdict, "name": "plateau"}]
        trial.set_user_attr("nnstudy", {"ended": "pruned", "epochs": 2.5, "verdicts": given})
        study.tell(trial, None, TrialState.PRUNED)
    older = study.ask()
    study.tell(older, 0.5)

    [status] = study_status(storage, "mine")

    assert [str(count) for count in status.verdicts] == [
        "diverged: 3 of 8 trials (38%), all that have lr above 0.6",
        "plateau: 5 of 8 trials (62%), all that have lr below 0.6",
    ]
    first, last = status.ended[0], status.ended[-1]
    assert (first.state, first.value, first.epochs) == ("pruned", 0.1, 2.5)
    assert first.params == {"lr": 0.1}
    assert [given["name"] for given in first.verdicts] == ["plateau"]
    assert (last.state, last.value, last.verdicts) == ("complete", 0.5, [])
