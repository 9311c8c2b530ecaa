from __future__ import annotations

import multiprocessing
import os
import signal
import time
from itertools import chain
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from nnstudy.errors import UserError
from nnstudy.search.budget import Budget, claim, count
from nnstudy.search.leases import Leases
from nnstudy.search.samplers import make_sampler
from nnstudy.search.space import Space
from nnstudy.search.storage import open_storage
from tests.search.processes import run_at_once


def study_on(url: str, owner: str = "w", seconds: float = 60) -> tuple[optuna.Study, Leases]:
    storage = open_storage(url)
    study = optuna.create_study(
        storage=storage,
        study_name="digits/fine",
        load_if_exists=True,
        sampler=make_sampler("random", seed=1, stage="fine", space=Space({})),
    )
    return study, Leases(storage, owner, seconds)


def finish(study: optuna.Study, claimed: Any, state: TrialState = TrialState.COMPLETE) -> int:
    trial, lease = claimed
    value = trial.suggest_float("x", 0, 1)
    study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
    lease.release()
    number: int = trial.number
    return number


def test_every_finished_trial_counts_whatever_its_state(any_storage_url: str) -> None:
    study, leases = study_on(any_storage_url)
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL):
        finish(study, claim(study, Budget(3), leases), state)
    assert claim(study, Budget(3), leases) is None
    assert count(study, leases).finished == 3
    claimed = claim(study, Budget(4), leases)
    assert claimed is not None
    assert claimed[0].number == 3


def test_running_trials_count_while_their_lease_holds(sqlite_url: str) -> None:
    study, leases = study_on(sqlite_url, seconds=0.3)
    assert claim(study, Budget(1), leases) is not None
    assert claim(study, Budget(1), leases) is None
    assert count(study, leases).running == 1
    time.sleep(0.4)
    assert count(study, leases).interrupted == 1
    again = claim(study, Budget(1), leases)
    assert again is not None
    assert (again[0].number, again[1].token) == (0, 2)


def test_interrupted_trial_goes_first_with_its_values_and_curve(any_storage_url: str) -> None:
    study, leases = study_on(any_storage_url)
    claimed = claim(study, Budget(5), leases)
    assert claimed is not None
    trial, lease = claimed
    params = {"x": trial.suggest_float("x", 0, 1)}
    trial.report(0.5, 1)
    lease.release()
    other, other_leases = study_on(any_storage_url, "other")
    other.enqueue_trial({"x": 0.5})
    taken = claim(other, Budget(5), other_leases)
    assert taken is not None
    frozen = other.trials[0]
    assert taken[0].number == trial.number
    assert taken[0].suggest_float("x", 0, 1) == params["x"]
    assert frozen.intermediate_values == {1: 0.5}
    assert frozen.datetime_start == trial.datetime_start
    assert not lease.valid()


def test_enqueued_trials_come_before_new_ones_and_count(sqlite_url: str) -> None:
    study, leases = study_on(sqlite_url)
    study.enqueue_trial({"x": 0.25})
    assert count(study, leases).waiting == 1
    first, second = claim(study, Budget(2), leases), claim(study, Budget(2), leases)
    assert first is not None
    assert second is not None
    assert first[0].suggest_float("x", 0, 1) == 0.25
    assert second[0].suggest_float("x", 0, 1) != 0.25
    assert claim(study, Budget(2), leases) is None


def test_smaller_budget_leaves_interrupted_trials_alone(sqlite_url: str) -> None:
    study, leases = study_on(sqlite_url)
    interrupted = claim(study, Budget(2), leases)
    assert interrupted is not None
    finish(study, claim(study, Budget(2), leases))
    interrupted[1].release()
    assert claim(study, Budget(1), leases) is None


def test_sampler_that_fails_gives_the_trial_back(sqlite_url: str) -> None:
    class Broken(optuna.samplers.RandomSampler):
        def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            raise ZeroDivisionError

    study, leases = study_on(sqlite_url)
    study.sampler = Broken()
    with pytest.raises(ZeroDivisionError):
        claim(study, Budget(1), leases)
    assert count(study, leases).interrupted == 1


def test_sampler_sees_what_others_finished_between_two_claims(sqlite_url: str) -> None:
    seen: list[int] = []

    class Counting(optuna.samplers.RandomSampler):
        def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            done = study._get_trials(deepcopy=False, states=(TrialState.COMPLETE,), use_cache=True)
            seen.append(len(done))

    study, leases = study_on(sqlite_url)
    other, other_leases = study_on(sqlite_url, "other")
    study.sampler = Counting()
    claim(study, Budget(9), leases)
    finish(other, claim(other, Budget(9), other_leases))
    claim(study, Budget(9), leases)
    assert seen == [0, 1]


def test_trial_finished_by_its_late_owner_is_not_taken_over(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, late_leases = study_on(sqlite_url, "late", seconds=0.01)
    claimed = claim(late, Budget(2), late_leases)
    assert claimed is not None
    time.sleep(0.05)
    study, leases = study_on(sqlite_url)
    look = study.get_trials

    def look_while_the_owner_finishes(**options: Any) -> list[optuna.trial.FrozenTrial]:
        trials = look(**options)
        if claimed[1].valid() and trials[0].state == TrialState.RUNNING:
            late.tell(claimed[0], 0.5)
        return trials

    monkeypatch.setattr(study, "get_trials", look_while_the_owner_finishes)
    mine = claim(study, Budget(2), leases)
    assert mine is not None
    assert mine[0].number == 1
    assert [trial.value for trial in study.trials] == [0.5, None]


def test_lease_left_by_a_deleted_study_does_not_stop_a_new_one(sqlite_url: str) -> None:
    study, leases = study_on(sqlite_url, seconds=5)
    claim(study, Budget(1), leases)
    optuna.delete_study(study_name=study.study_name, storage=leases.storage)
    study, leases = study_on(sqlite_url)
    claimed = claim(study, Budget(2), leases)
    assert claimed is not None
    assert claimed[1].valid()


def test_budget_below_one_trial_is_refused() -> None:
    with pytest.raises(UserError, match="at least 1, got 0"):
        Budget(0)


def _work(url: str, owner: str, trials: int) -> list[int]:
    study, leases = study_on(url, owner)
    numbers = []
    while claimed := claim(study, Budget(trials), leases):
        numbers.append(finish(study, claimed))
    return numbers


@pytest.mark.slow
def test_six_processes_run_exactly_the_budget_each_number_once(any_storage_url: str) -> None:
    study, leases = study_on(any_storage_url)
    for i in range(10):
        study.enqueue_trial({"x": i / 10})
    done = run_at_once(_work, [(any_storage_url, f"worker {i}", 60) for i in range(6)])
    assert sorted(chain.from_iterable(done)) == list(range(60))
    assert count(study, leases).finished == len(study.trials) == 60
    assert [trial.params["x"] for trial in study.trials[:10]] == [i / 10 for i in range(10)]


def _claim_and_hang(url: str) -> None:
    study, leases = study_on(url, "doomed", seconds=1)
    claimed = claim(study, Budget(2), leases)
    assert claimed is not None
    claimed[0].suggest_float("x", 0, 1)
    claimed[0].report(0.7, 1)
    time.sleep(60)


@pytest.mark.slow
def test_trial_of_a_killed_process_is_taken_over_when_its_lease_ends(any_storage_url: str) -> None:
    study, leases = study_on(any_storage_url, "heir")
    process = multiprocessing.get_context("spawn").Process(
        target=_claim_and_hang, args=(any_storage_url,), daemon=True
    )
    process.start()
    deadline = time.monotonic() + 30
    while not (study.trials and study.trials[0].intermediate_values):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    before = study.trials[0]
    while (claimed := claim(study, Budget(1), leases)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    trial, lease = claimed
    assert (trial.number, lease.token) == (0, 2)
    assert trial.suggest_float("x", 0, 1) == before.params["x"]
    assert study.trials[0].intermediate_values == {1: 0.7}
    study.tell(trial, 0.1)
    assert count(study, leases).finished == 1
