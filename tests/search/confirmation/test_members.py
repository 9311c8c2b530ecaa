"""Which configurations are confirmed, and with which seeds."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from nnstudy.errors import UserError
from nnstudy.search.confirmation.members import (
    best_configurations,
    choose_source,
    confirmation_plan,
    enqueue,
    member_of,
    training_seed,
)
from nnstudy.search.plan import Plan
from nnstudy.search.stored import StoredStage

LR = optuna.distributions.FloatDistribution(0.0, 1.0)
KIND = optuna.distributions.CategoricalDistribution(["a", True, None])


def stage(
    *trials: tuple[float, float | None], name: str = "search", direction: str = "maximize"
) -> StoredStage:
    study = optuna.create_study(direction=direction)
    for lr, value in trials:
        study.add_trial(
            create_trial(
                params={"lr": lr},
                distributions={"lr": LR},
                value=value,
                state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
            )
        )
    return StoredStage(plan(name, direction), study)


def plan(name: str, direction: str = "maximize", position: int = 0) -> Plan:
    return Plan(
        study="toy",
        stage=name,
        position=position,
        reference="toy",
        trials=20,
        epochs=3,
        sampler={"name": "grid", "options": {}},
        pruner={"name": "median", "options": {}},
        seed=7,
        metric="accuracy/valid",
        direction=direction,  # type: ignore[arg-type]
        validate_every=None,
        split={},
        subset={},
        data={},
        space={},
        max_epochs_total=5,
        flat_trials=1,
        run_id="run",
    )


def test_the_best_complete_trials_are_chosen_in_the_study_s_direction() -> None:
    trials = [(0.1, 0.7), (0.2, 0.9), (0.3, None), (0.4, 0.8), (0.5, math.inf)]
    chosen = best_configurations(stage(*trials), 2)
    assert [(one.trial, one.value, one.params) for one in chosen] == [
        (1, 0.9, {"lr": 0.2}),
        (3, 0.8, {"lr": 0.4}),
    ]
    chosen = best_configurations(stage(*trials, direction="minimize"), 9)
    assert [one.trial for one in chosen] == [0, 3, 1]


def test_configurations_whose_numbers_are_the_same_are_taken_once() -> None:
    nearly = 0.3 + 1e-16 * 3
    assert nearly != 0.3
    chosen = best_configurations(stage((0.3, 0.7), (nearly, 0.9), (0.3001, 0.8), (1, 0.6)), 9)
    assert [one.trial for one in chosen] == [1, 2, 3]


def test_a_stage_without_complete_trials_is_passed_over() -> None:
    stages = [stage((0.1, 0.7), name="coarse"), stage((0.2, None), name="fine")]
    assert choose_source(stages).plan.stage == "coarse"
    with pytest.raises(UserError, match="stage 'fine' of study 'toy' has no complete trial"):
        choose_source(stages, "fine")
    with pytest.raises(UserError, match="no stage 'medium' to confirm; it has: coarse, fine"):
        choose_source(stages, "medium")
    with pytest.raises(UserError, match="study 'toy' has no complete trial yet"):
        choose_source([stage((0.1, None))])


def test_what_comes_of_a_confirmation_is_no_search_to_confirm() -> None:
    coarse, fine = stage((0.1, 0.7), name="coarse"), stage((0.2, 0.8), name="fine")
    confirmed = StoredStage(confirmation_plan([coarse, fine], fine.plan), fine.optuna_study)
    assert choose_source([coarse, fine, confirmed]).plan.stage == "fine"
    with pytest.raises(UserError, match="no stage 'confirm'"):
        choose_source([coarse, fine, confirmed], "confirm")


def test_plan_of_a_confirmation_samples_and_prunes_nothing_and_has_its_own_budget() -> None:
    coarse, fine = stage(name="coarse"), stage(name="fine")
    found = confirmation_plan([coarse, fine], fine.plan)
    assert (found.name, found.kind) == ("toy/confirm", "confirm")
    assert (found.sampler["name"], found.pruner["name"]) == ("random", "none")
    assert (found.max_epochs_total, found.flat_trials, found.run_id) == (None, None, "")
    assert found.uid != fine.plan.uid
    assert (found.epochs, found.metric, found.seed) == (3, "accuracy/valid", 7)
    assert confirmation_plan([coarse, fine], coarse.plan).name == "toy/confirm-coarse"


def test_trainings_are_enqueued_once_and_seed_by_seed() -> None:
    chosen = best_configurations(stage((0.1, 0.7), (0.2, 0.9)), 2)
    study = optuna.create_study()
    assert enqueue(study, chosen, 2) == 4
    assert enqueue(study, chosen[:1], 3) == 5
    trials = study.get_trials()
    assert [member_of(trial) for trial in trials] == [(1, 0), (0, 0), (1, 1), (0, 1), (1, 2)]
    asked = study.ask({"lr": LR})
    assert asked.params == {"lr": 0.2}


def test_configurations_share_seeds_that_no_trial_of_the_search_has() -> None:
    searched = stage(*[(0.01 * n, 0.5 + 0.01 * n) for n in range(9)])
    chosen = best_configurations(searched, 3)
    study = optuna.create_study()
    enqueue(study, chosen, 4)
    found = confirmation_plan([searched], searched.plan)
    seeds: dict[int, set[tuple[int, ...]]] = {}
    for trial in study.get_trials():
        seeds.setdefault(member_of(trial)[1], set()).add(training_seed(found, trial))
    assert all(len(shared) == 1 for shared in seeds.values())
    confirmed = set.union(*seeds.values())
    trials = searched.optuna_study.get_trials()
    assert len(confirmed) == 4
    assert not confirmed & {training_seed(searched.plan, trial) for trial in trials}
