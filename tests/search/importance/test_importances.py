"""Importances where the truth is known."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from nnstudy.search.importance import EvaluatorName, StageImportance, stage_importance
from nnstudy.search.importance.words import as_markdown, headline, strongest

from .objectives import noise, plan_of, tried, true_trials, truth


def told(found: StageImportance, group: int = 0) -> list[str]:
    return [one.parameter for one in found.groups[group].importances if one.is_told]


def of_values(values: Sequence[float], **params: Sequence[float]) -> list[FrozenTrial]:
    ranges = {name: FloatDistribution(0, 1) for name in params}
    return [
        create_trial(
            value=value,
            params={name: params[name][number] for name in params},
            distributions=ranges,
        )
        for number, value in enumerate(values)
    ]


def test_strong_weak_and_conditional_parameters_are_told_from_chance_an_irrelevant_one_is_not() -> (
    None
):
    found = stage_importance(plan_of(), true_trials())
    [group] = found.groups
    by_name = {one.parameter: one for one in group.importances}
    assert set(strongest(found)[:2]) == {"lr", "momentum"}
    assert set(told(found)) == {"lr", "units", "momentum", "optimizer"}
    assert by_name["units"].share < by_name["lr"].share / 2
    assert not by_name["colour"].is_told
    asked = sum("momentum" in trial.params for trial in true_trials())
    assert (by_name["momentum"].asked, by_name["momentum"].is_conditional) == (asked, True)
    assert (by_name["lr"].asked, by_name["lr"].is_conditional) == (120, False)
    assert sum(one.share for one in group.importances) == pytest.approx(1)
    assert (found.complete, found.unsaid, found.warnings) == (120, {}, [])


def test_shares_are_those_of_optuna() -> None:
    study = optuna.create_study()
    study.add_trials(true_trials())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    [group] = stage_importance(plan_of(), true_trials()).groups
    ours = {one.parameter: one.share for one in group.importances}
    assert ours == pytest.approx(theirs)


def test_the_same_trials_give_the_same_answer_whichever_way_is_better() -> None:
    negative = [
        create_trial(value=-t.values[0], params=t.params, distributions=t.distributions)
        for t in true_trials()
    ]
    once = stage_importance(plan_of(), true_trials())
    assert stage_importance(plan_of(), true_trials()) == once
    assert stage_importance(plan_of(direction="maximize"), negative).groups == once.groups


@pytest.mark.parametrize(
    "evaluator", ["mean-decrease-impurity", pytest.param("fanova", marks=pytest.mark.slow)]
)
def test_forests_look_at_trials_that_ask_for_the_same(evaluator: EvaluatorName) -> None:
    found = stage_importance(plan_of(), true_trials()[:40], evaluator)
    every, sgd = found.groups
    assert (every.trials, every.branch) == (40, ())
    assert {one.parameter for one in every.importances} == {"lr", "units", "colour", "optimizer"}
    assert every.importances[0].parameter == "lr"
    assert told(found)[0] == "lr"
    assert "colour" not in told(found)
    assert sgd.branch == ("momentum",)
    assert sgd.trials == sum("momentum" in trial.params for trial in true_trials()[:40])
    # Its one optimizer explains nothing.
    assert {one.parameter for one in sgd.importances} == {"lr", "units", "colour", "momentum"}
    assert {one.parameter: one.is_conditional for one in sgd.importances}["lr"] is False
    assert f"the {sgd.trials} complete trials that ask for momentum" in as_markdown(found)


def test_of_few_trials_nothing_is_said_and_why() -> None:
    found = stage_importance(plan_of(), true_trials()[:9])
    assert found.groups == []
    assert "nothing can be said from 9 complete trials" in found.warnings[0]
    assert "10 at least" in found.warnings[0]
    assert headline(found) == ""
    assert "from 0 complete trials" in stage_importance(plan_of(), []).warnings[0]


def test_thin_evidence_and_a_sampler_that_learns_are_warned_of() -> None:
    thin = stage_importance(plan_of(), true_trials()[:20])
    assert any("20 complete trials are thin evidence" in text for text in thin.warnings)
    learned = stage_importance(plan_of("tpe"), true_trials()[:30])
    assert [
        "tpe draws near good trials: PED-ANOVA allows for it" in t for t in learned.warnings
    ] == [True]


def test_forests_are_biased_by_a_sampler_that_learns() -> None:
    rates = [
        create_trial(
            value=trial.values[0],
            params={"lr": trial.params["lr"]},
            distributions={"lr": trial.distributions["lr"]},
        )
        for trial in true_trials()[:30]
    ]
    found = stage_importance(plan_of("gp"), rates, "mean-decrease-impurity")
    assert any("gp draws near" in text and "shares are biased" in text for text in found.warnings)


def test_pruned_trials_are_left_out_and_many_of_them_are_warned_of() -> None:
    asked = true_trials()[0]
    pruned = create_trial(
        state=TrialState.PRUNED, params=asked.params, distributions=asked.distributions
    )
    some = stage_importance(plan_of(), [*true_trials(), *[pruned] * 40])
    assert (some.complete, some.pruned, some.warnings) == (120, 40, [])
    many = stage_importance(plan_of(), [*true_trials(), *[pruned] * 70])
    assert many.groups == some.groups
    assert ["70 pruned trials are left out" in text for text in many.warnings] == [True]


def test_a_single_parameter_has_a_share_that_says_nothing() -> None:
    places = np.random.default_rng(0).random(40)
    found = stage_importance(plan_of(), of_values(places**2, lr=places))
    [one] = found.groups[0].importances
    assert (one.share, one.is_told) == (1, True)
    assert "lr is the only parameter, so its share is 1 whatever it does" in found.warnings[0]
    shuffled = np.random.default_rng(1).permutation(places)
    found = stage_importance(plan_of(), of_values(shuffled, lr=places))
    assert headline(found) == (
        "what mattered: no parameter for sure; not told from chance: lr"
        " (PED-ANOVA, 40 complete trials)"
    )


def test_equal_values_and_no_parameters_leave_nothing_to_explain() -> None:
    places = np.linspace(0, 1, 20)
    same = stage_importance(plan_of(), of_values([0.5] * 20, lr=places))
    assert same.groups == []
    assert "reached the same value" in same.warnings[0]
    nothing = stage_importance(plan_of(), of_values(places))
    assert nothing.warnings == ["no trial asks for a parameter"]


def test_parameters_that_do_not_vary_or_are_rare_are_named() -> None:
    places = np.random.default_rng(0).random(40)
    trials = of_values(places, lr=places, depth=[0.5] * 40)
    rare = IntDistribution(1, 9)
    for number in range(8):
        trials[number].params["rare"] = number + 1
        trials[number].distributions["rare"] = rare
    found = stage_importance(plan_of(), trials)
    assert [one.parameter for one in found.groups[0].importances] == ["lr"]
    assert found.unsaid == {
        "depth": "always 0.5",
        "rare": "asked for in 8 complete trials, too few",
    }
    assert "- depth: always 0.5" in as_markdown(found)


def test_infinite_values_do_not_count() -> None:
    places = np.random.default_rng(0).random(12)
    values = [*places[:10], math.inf, math.inf]
    found = stage_importance(plan_of(), of_values(values, lr=places, decay=places[::-1]))
    assert found.complete == 10


def test_a_branch_that_is_better_credits_no_parameter_within_it() -> None:
    generator = np.random.default_rng(0)

    def objective(trial: optuna.Trial) -> float:
        if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
            trial.suggest_float("momentum", 0, 1)
            return float(generator.normal()) - 10
        return float(generator.normal())

    alarms = [
        "momentum" in told(stage_importance(plan_of(), tried(objective, 50, seed=seed)))
        for seed in range(6)
    ]
    assert sum(alarms) <= 1


@pytest.mark.slow
def test_parameters_that_do_not_matter_are_rarely_told_from_chance() -> None:
    names = {"a": True, "b": True, "c": False, "d": False}
    alarms = [
        len(told(stage_importance(plan_of(), tried(noise(names, seed), 40, seed=seed))))
        for seed in range(30)
    ]
    # 120 questions at 5 %: 6 expected, more than 14 with probability below 0.001.
    assert sum(alarms) <= 14


@pytest.mark.slow
def test_a_sampler_that_learns_makes_no_more_false_alarms() -> None:
    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("rest", 0, 1)
        return truth(trial)

    searches = [
        tried(objective, 40, sampler=TPESampler(seed=seed), seed=seed) for seed in range(10)
    ]
    alarms = {
        sampler: sum(
            len({"colour", "rest"} & set(told(stage_importance(plan_of(sampler), trials))))
            for trials in searches
        )
        for sampler in ("tpe", "random")
    }
    # 20 questions at some 7 %: more than 5 with probability below 0.01.
    assert alarms["tpe"] <= 5
    assert alarms["tpe"] <= alarms["random"]
