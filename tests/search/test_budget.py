from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from nnstudy import Callback, Recipe, Stage, Study
from nnstudy.data import Data
from nnstudy.errors import UserError
from nnstudy.search.budget import Budget, Counts, claim, count, epochs_trained
from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.leases import Leases
from nnstudy.search.plan import Plan
from nnstudy.search.samplers import make_sampler
from nnstudy.search.space import Space
from nnstudy.search.storage import open_storage
from nnstudy.training import Record, Training
from tests.launching import Place, recipe, toy
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


def finish(
    study: optuna.Study,
    claimed: Any,
    state: TrialState = TrialState.COMPLETE,
    epochs: float | None = None,
) -> int:
    trial, lease = claimed
    if epochs is not None:
        trial.set_user_attr(ATTRIBUTE, {"epochs": epochs})
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


# -- Epochs ---------------------------------------------------------------------------------


def test_a_trial_begins_only_if_all_its_epochs_fit_beside_those_of_running_ones(
    any_storage_url: str,
) -> None:
    study, leases = study_on(any_storage_url)
    budget = Budget(100, epochs=25, epochs_each=10)
    first, second = claim(study, budget, leases), claim(study, budget, leases)
    assert first is not None
    assert second is not None
    assert claim(study, budget, leases) is None
    assert not budget.is_spent(count(study, leases))

    # What a pruned trial has not trained comes back.
    finish(study, first, TrialState.PRUNED, epochs=4)
    third = claim(study, budget, leases)
    assert third is not None
    assert claim(study, budget, leases) is None

    finish(study, second, epochs=10)
    finish(study, third, epochs=10)
    assert claim(study, budget, leases) is None
    counts = count(study, leases)
    assert (counts.epochs, counts.finished) == (24, 3)
    assert budget.is_spent(counts)


def test_an_interrupted_trial_keeps_its_epochs_and_goes_on(sqlite_url: str) -> None:
    study, leases = study_on(sqlite_url)
    budget = Budget(100, epochs=10, epochs_each=10)
    interrupted = claim(study, budget, leases)
    assert interrupted is not None
    interrupted[1].release()
    assert not budget.is_spent(count(study, leases))
    again = claim(study, budget, leases)
    assert again is not None
    assert (again[0].number, again[1].token) == (0, 2)


def test_enqueued_trials_wait_where_their_epochs_do_not_fit(sqlite_url: str) -> None:
    study, leases = study_on(sqlite_url)
    study.enqueue_trial({"x": 0.5})
    small = Budget(100, epochs=9, epochs_each=10)
    assert claim(study, small, leases) is None
    assert small.is_spent(count(study, leases))
    assert count(study, leases).waiting == 1
    taken = claim(study, Budget(100, epochs=10, epochs_each=10), leases)
    assert taken is not None
    assert taken[0].suggest_float("x", 0, 1) == 0.5


def test_failed_trials_count_what_they_trained_and_running_ones_nothing_yet(
    sqlite_url: str,
) -> None:
    study, leases = study_on(sqlite_url)
    for state, epochs in ((TrialState.FAIL, 2.5), (TrialState.PRUNED, 1), (TrialState.FAIL, None)):
        finish(study, claim(study, Budget(9), leases), state, epochs=epochs)
    claim(study, Budget(9), leases)
    assert epochs_trained(study.trials) == 3.5


def test_tenths_of_epochs_that_add_up_to_the_budget_fit() -> None:
    budget = Budget(100, epochs=0.3, epochs_each=0.1)
    spent = 0.1 + 0.1
    assert budget.allows_another(Counts(2, 0, 0, 0, epochs=spent))
    assert not budget.allows_another(Counts(3, 0, 0, 0, epochs=spent + 0.1))


@given(
    total=st.integers(1, 60),
    each=st.integers(1, 12),
    events=st.lists(st.tuples(st.sampled_from(["start", "end", "die", "go on"]), st.floats(0, 1))),
)
def test_epochs_are_never_exceeded_whatever_becomes_of_the_trials(
    total: int, each: int, events: list[tuple[str, float]]
) -> None:
    budget = Budget(1000, epochs=total, epochs_each=each)
    running, interrupted, finished, spent = 0, 0, 0, 0.0

    def counts() -> Counts:
        return Counts(finished, running, interrupted, 0, spent)

    for event, share in events:
        if event == "start" and budget.allows_another(counts()):
            running += 1
        elif event == "end" and running:
            running, finished, spent = running - 1, finished + 1, spent + share * each
        elif event == "die" and running:
            running, interrupted = running - 1, interrupted + 1
        elif event == "go on" and interrupted:
            running, interrupted = running + 1, interrupted - 1
        assert spent + (running + interrupted) * each <= total * (1 + 1e-6)
        if running or interrupted:
            assert not budget.is_spent(counts())
        else:
            assert budget.is_spent(counts()) == (spent + each > total * (1 + 1e-9))


def _train(url: str, owner: str, budget: Budget) -> float:
    study, leases = study_on(url, owner)
    draw, spent = random.Random(owner), 0.0
    while not budget.is_spent(count(study, leases)):
        claimed = claim(study, budget, leases)
        if claimed is None:
            time.sleep(0.02)
            continue
        if draw.random() < 0.2:
            claimed[1].release()  # and somebody else goes on with it
            continue
        epochs = draw.choice([0.5, 1, 2, budget.epochs_each])
        finish(study, claimed, draw.choice([TrialState.COMPLETE, TrialState.PRUNED]), epochs)
        spent += epochs
    return spent


@pytest.mark.slow
def test_four_processes_at_once_never_exceed_the_epochs(any_storage_url: str) -> None:
    study, leases = study_on(any_storage_url)
    budget = Budget(1000, epochs=60, epochs_each=4)
    spent = run_at_once(_train, [(any_storage_url, f"worker {i}", budget) for i in range(4)])
    assert sum(spent) == count(study, leases).epochs
    assert 60 - 4 < sum(spent) <= 60
    assert all(trial.state.is_finished() for trial in study.trials)
    assert [trial.number for trial in study.trials] == list(range(len(study.trials)))


# -- Epochs of whole studies ----------------------------------------------------------------


@pytest.mark.slow
def test_epochs_spent_in_earlier_stages_count_and_a_later_launch_may_give_more(
    place: Place,
) -> None:
    stages = [
        Stage("coarse", trials=3, epochs=1, sampler="random", pruner="none"),
        Stage("fine", trials=9, epochs=2, sampler="random", pruner="none"),
    ]
    study = toy(stages=stages)

    first = place.launch(study, max_epochs_total=8)
    assert first.complete
    assert (first.finished, first.epochs, first.max_epochs_total) == (5, 7, 8)
    finished = [
        sum(trial.state.is_finished() for trial in place.trials(f"toy/{stage}"))
        for stage in ("coarse", "fine")
    ]
    assert finished == [3, 2]
    assert place.stage_run("fine").info.status == "FINISHED"

    # It is stored with the study.
    assert place.launch(study).finished == 5
    place.events.clear()
    more = place.launch(study, max_epochs_total=13)
    assert (more.finished, more.epochs) == (8, 13)
    (cost,) = (event.values for event in place.events if event.kind == "cost")
    assert cost["epochs"] == 6


@pytest.mark.slow
def test_a_stage_that_is_added_later_has_the_stored_epochs(place: Place) -> None:
    coarse = Stage("coarse", trials=2, epochs=2, sampler="random", pruner="none")
    fine = Stage("fine", trials=9, epochs=2, sampler="random", pruner="none")
    place.launch(toy(stages=[coarse]), max_epochs_total=7)
    result = place.launch(toy(stages=[coarse, fine]))
    assert (result.finished, result.epochs) == (3, 6)


def early_ending(trial: optuna.Trial, data: Data) -> Recipe:
    class Prune(Callback):
        def on_validation_end(self, training: Training, record: Record) -> None:
            if trial.number % 2:
                raise optuna.TrialPruned

    made = recipe(trial, data)
    made.callbacks = [Prune()]
    return made


def test_epochs_that_pruned_trials_did_not_train_are_for_others(place: Place) -> None:
    result = place.launch(toy(early_ending, trials=50, epochs=3), max_epochs_total=9)
    # Pruned ones end in their first epoch: 3, 0, 3 and 0 epochs, and again 3.
    assert result.endings == {"complete": 3, "pruned": 2}
    assert (result.complete, result.epochs) == (True, 9)


def test_fractions_of_epochs_that_end_with_a_whole_minibatch_do_not_exceed_them(
    place: Place,
) -> None:
    def wide(trial: optuna.Trial, data: Data) -> Recipe:
        made = recipe(trial, data)
        made.batch_size = 100  # of 90 examples
        return made

    result = place.launch(toy(wide, trials=9, epochs=0.5), max_epochs_total=2)
    assert result.epochs <= 2
    assert 2 - result.epochs < 1


def test_a_recipe_with_more_epochs_than_its_stage_has_is_refused_where_they_are_counted(
    place: Place,
) -> None:
    def long(trial: optuna.Trial, data: Data) -> Recipe:
        made = recipe(trial, data)
        made.epochs = 5
        return made

    with pytest.raises(UserError, match=r"Recipe\(epochs=5\) is more than the 3 epochs"):
        place.launch(toy(long, epochs=3), max_epochs_total=9, preflight=True)
    assert place.launch(toy(long, trials=1, epochs=5), max_epochs_total=9).epochs == 5
    assert place.launch(toy(long, trials=1, epochs=3), name="other").epochs == 5


def test_epochs_without_room_for_one_trial_are_refused(place: Place) -> None:
    with pytest.raises(UserError, match=r"--max-epochs-total 2 has no room for one trial"):
        place.launch(toy(epochs=3), max_epochs_total=2)
    assert not (place.directory / "optuna.db").exists()


# -- Nothing more to be expected -------------------------------------------------------------


@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=20),
    st.integers(1, 10),
    st.sampled_from([0.0, 0.1]),
)
def test_a_search_is_flat_once_its_last_trials_have_improved_the_best_by_no_more_than_noise(
    values: list[float], patience: int, noise: float
) -> None:
    bests = tuple(max(values[: i + 1]) for i in range(len(values)))
    budget = Budget(100, flat_trials=patience, noise=noise)
    improved = len(values) <= patience or max(values) - max(values[:-patience]) > noise
    assert budget.is_flat(Counts(len(values), 0, 0, 0, bests=bests)) != improved
    assert not Budget(100).is_flat(Counts(len(values), 0, 0, 0, bests=bests))


def scored(*values: float) -> Study:
    """A study whose trials reach these values, whatever their parameters."""
    left = list(values)

    def own(trial: optuna.Trial, data: Data) -> Iterator[dict[str, float]]:
        trial.suggest_float("lr", 0.0, 1.0)
        # Asked for its space it yields nothing yet.
        return ({"loss/valid": left.pop(0)} for _ in range(1))

    return toy(own, trials=20, epochs=1, metric="loss/valid")


def test_a_stage_ends_when_its_best_has_been_flat(place: Place) -> None:
    values = [0.9, 0.8, 0.85, 0.7, 0.71, 0.75, 0.7, *[0.1] * 13]
    result = place.launch(scored(*values), flat_trials=3)
    # Three after the best one; the last equals it, which is no improvement.
    assert (result.finished, result.trials, result.complete) == (7, 20, True)
    assert result.flat == {"search": 3}
    assert place.stage_run().info.status == "FINISHED"


def test_only_improvements_beyond_the_noise_between_seeds_count(place: Place) -> None:
    study = scored(0.9, 0.88, 0.86, 0.84, *[0.1] * 16)
    place.launch(study, trials=1)
    plan = Plan.of(place.study())
    confirmed = optuna.create_study(study_name="toy/confirm", storage=place.storage)
    replace(plan, kind="confirm", stage="confirm", position=1).save(confirmed)
    confirmed.set_user_attr("nnstudy:seed_noise", 0.1)
    assert place.launch(study, trials=20, flat_trials=3).finished == 4
