"""What came of a stage."""

from __future__ import annotations

from dataclasses import replace

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from nnstudy.search.endings import ending_of
from nnstudy.search.plan import Plan
from nnstudy.search.results import best_trial, borders_of, stage_story
from nnstudy.study.study import Direction


def plan(direction: Direction) -> Plan:
    return Plan(
        study="toy",
        stage="fine",
        position=0,
        reference="toy",
        trials=6,
        epochs=3,
        sampler={},
        pruner={},
        seed=0,
        metric="loss/valid",
        direction=direction,
        validate_every=None,
        split={},
        subset={},
        data={},
        space={},
    )


def study(direction: Direction) -> optuna.Study:
    made = optuna.create_study(direction=direction)
    lr, units = FloatDistribution(0, 1), IntDistribution(1, 9)
    for value, rate in ((0.5, 0.123456), (0.2, 0.2), (0.9, 0.3)):
        made.add_trial(create_trial(value=value, params={"lr": rate}, distributions={"lr": lr}))
    made.add_trial(create_trial(value=0.4, params={"u": 3}, distributions={"u": units}))
    made.add_trial(create_trial(state=TrialState.FAIL))
    made.add_trial(
        create_trial(state=TrialState.PRUNED, user_attrs={"nnstudy": {"ended": "diverged"}})
    )
    made.add_trial(create_trial(state=TrialState.RUNNING))
    return made


def test_endings_tell_a_diverged_trial_from_a_pruned_one() -> None:
    trials = study("minimize").get_trials()
    assert [ending_of(trial) for trial in trials[3:6]] == ["complete", "failed", "diverged"]
    assert ending_of(create_trial(state=TrialState.PRUNED)) == "pruned"


def test_the_best_trial_follows_the_direction() -> None:
    expected: dict[Direction, float] = {"minimize": 0.2, "maximize": 0.9}
    for direction, value in expected.items():
        best = best_trial(study(direction))
        assert best is not None
        assert best.value == value
    assert best_trial(optuna.create_study()) is None


def test_a_story_counts_the_endings_and_ranks_the_best() -> None:
    lines = stage_story(plan("minimize"), study("minimize")).splitlines()
    assert lines[0] == (
        "Stage **fine** of study **toy**: 6 of 6 trials finished"
        " (4 complete, 1 diverged, 1 failed)."
    )
    assert lines[2:5] == [
        "| trial | loss/valid | lr | u |",
        "| --- | --- | --- | --- |",
        "| 1 | 0.2 | 0.2 |  |",
    ]
    assert [line.split()[1] for line in lines[4:]] == ["1", "3", "0", "2"]
    assert "0.1235" in lines[6]


def test_a_story_of_nothing_yet_says_so() -> None:
    assert stage_story(plan("maximize"), optuna.create_study()).endswith("(none yet).")


def test_a_story_names_the_borders_of_a_search_and_a_confirmation_searches_nothing() -> None:
    made = optuna.create_study(direction="maximize")
    lr = FloatDistribution(1e-4, 1e-2, log=True)
    for i in range(21):
        rate = 10 ** (-4 + i / 10)
        made.add_trial(create_trial(value=i, params={"lr": rate}, distributions={"lr": lr}))
    [border] = borders_of(plan("maximize"), made.trials)
    assert f"- {border}" in stage_story(plan("maximize"), made).splitlines()
    assert borders_of(replace(plan("maximize"), kind="confirm"), made.trials) == []
    [border] = borders_of(replace(plan("maximize"), limits={"lr": [None, 0.02]}), made.trials)
    assert str(border).endswith("search up to 0.02")
