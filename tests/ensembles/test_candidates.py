from __future__ import annotations

from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from nnstudy.ensembles.candidates import searched, top_trials
from nnstudy.errors import UserError
from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.plan import Plan
from nnstudy.search.stored import StoredStage

PLAN = Plan(
    study="toy",
    stage="coarse",
    position=0,
    reference="toy",
    trials=10,
    epochs=1,
    sampler={},
    pruner={},
    seed=0,
    metric="accuracy/valid",
    direction="maximize",
    validate_every=None,
    split={},
    subset={},
    data={"digest": "1" * 16, "classes": 3},
    space={},
)


def stage(*trials: optuna.trial.FrozenTrial, **fields: Any) -> StoredStage:
    study = optuna.create_study(direction=PLAN.direction)
    study.add_trials(trials)
    return StoredStage(replace(PLAN, **fields), study)


def ended(
    value: float | None, reports: dict[int, float] | None = None, **facts: Any
) -> optuna.trial.FrozenTrial:
    """A trial that completed with a value, or was pruned after reports."""
    return create_trial(
        state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
        value=value,
        intermediate_values=reports or {},
        user_attrs={ATTRIBUTE: {"checkpoint": "best-epoch0001-0.50000.safetensors", **facts}},
    )


def test_the_best_come_first_across_stages_and_pruned_ones_are_among_them() -> None:
    coarse = stage(ended(0.5), ended(None, {1: 0.7, 2: 0.8}), ended(0.9))
    fine = stage(ended(0.9), ended(0.6), stage="fine", position=1)
    found = [(one.plan.stage, one.trial.number, one.value) for one in top_trials([coarse, fine])]
    assert found == [
        ("fine", 0, 0.9),
        ("coarse", 2, 0.9),
        ("coarse", 1, 0.8),
        ("fine", 1, 0.6),
        ("coarse", 0, 0.5),
    ]


def test_trials_without_weights_and_diverged_ones_are_no_candidates() -> None:
    left = ended(0.3)
    coarse = stage(
        ended(0.9, checkpoint=None), ended(None, {1: 0.9}, ended="diverged"), ended(None), left
    )
    assert [one.trial.number for one in top_trials([coarse])] == [3]


def test_a_loss_is_best_where_it_is_least() -> None:
    coarse = stage(ended(0.5), ended(0.2), direction="minimize")
    assert [one.value for one in top_trials([coarse])] == [0.2, 0.5]


def test_a_study_without_finished_trials_is_refused() -> None:
    with pytest.raises(UserError, match="'toy' has no finished trial that has kept weights"):
        top_trials([stage()])


@pytest.mark.parametrize(
    "other", [{"digest": "2" * 16}, {"classes": 2}, {"normalise": "unit"}, {"split": {"seed": 1}}]
)
def test_stages_with_other_data_classes_parts_or_preprocessing_are_refused(
    other: dict[str, Any],
) -> None:
    stages = [stage(), stage(stage="fine", data={**PLAN.data, **other})]
    with pytest.raises(UserError, match=rf"differ in their data \({next(iter(other))}\)"):
        searched(stages)


def test_trainings_of_a_confirmation_are_no_part_of_the_search() -> None:
    stages = [stage(), stage(stage="confirm", kind="confirm")]
    assert [one.plan.stage for one in searched(stages)] == ["coarse"]


def test_networks_of_several_folds_are_no_ensemble() -> None:
    with pytest.raises(UserError, match=r"cross-validated.*--folds 1 --name toy-single"):
        searched([stage(folds=5)])
