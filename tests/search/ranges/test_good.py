import math
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.ranges.good import good, ranked


def numbered(*trials: FrozenTrial) -> list[FrozenTrial]:
    study = optuna.create_study()
    study.add_trials(trials)
    return study.trials


def complete(value: float) -> FrozenTrial:
    return create_trial(value=value)


def pruned(step: int, value: float, *, ended: str = "pruned") -> FrozenTrial:
    attributes: dict[str, Any] = {ATTRIBUTE: {"ended": ended}}
    reports = {step: value}
    return create_trial(state=TrialState.PRUNED, intermediate_values=reports, user_attrs=attributes)


def test_complete_trials_come_before_pruned_ones_and_diverged_ones_last() -> None:
    trials = numbered(
        pruned(1, math.nan, ended="diverged"),
        pruned(2, 0.9),
        complete(0.5),
        create_trial(state=TrialState.FAIL),
        pruned(4, 0.3),
        complete(0.7),
    )
    assert [trial.number for trial in ranked(trials, "maximize")] == [5, 2, 4, 1, 0]
    assert [trial.number for trial in ranked(trials, "minimize")] == [2, 5, 4, 1, 0]


def test_a_quarter_is_good_and_three_at_least_but_none_that_diverged() -> None:
    trials = ranked(numbered(*map(complete, range(20))), "maximize")
    assert [trial.number for trial in good(trials)] == [19, 18, 17, 16, 15]
    assert [trial.number for trial in good(trials[:6])] == [19, 18, 17]
    diverged = [pruned(1, math.nan, ended="diverged")] * 3
    assert len(good(ranked(numbered(complete(1.0), *diverged), "maximize"))) == 1
