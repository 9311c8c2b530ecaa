import pytest

from nnstudy import Stage, UserError, plans
from nnstudy.study.plans import planned

STAGES = [Stage("coarse", epochs=2), Stage("fine", epochs=7)]


def test_one_at_a_time_the_rate_comes_first_without_decay_and_both_together_last() -> None:
    rate, decay, refine = plans.one_at_a_time("eta", "lambda", epochs=3, trials=9)
    assert (rate.only, rate.hold, rate.epochs) == (["eta"], {"lambda": 0}, 3)
    assert (decay.only, decay.hold) == (["lambda"], {})
    for stage in (rate, decay):
        assert (stage.sampler, stage.sampler_options) == ("grid", {"points": "decades"})
    assert (refine.only, refine.around, refine.trials) == (["eta", "lambda"], 10, 9)


def test_a_study_without_decay_has_one_stage_less() -> None:
    rate, refine = plans.one_at_a_time(decay=None)
    assert (rate.only, rate.hold, refine.only) == (["lr"], {}, ["lr"])


def test_the_minibatch_is_compared_by_time_before_both_are_refined() -> None:
    stages, told = planned("one-at-a-time", {}, ["units", "mini_batch_size", "lr", "l2"], STAGES)
    assert [stage.name for stage in stages] == ["rate", "decay", "minibatch", "refine"]
    assert (stages[2].only, stages[2].scaled) == (["mini_batch_size"], ["lr"])
    assert "mini_batch_size is the size of the minibatch" in told
    left_out, _ = planned("one-at-a-time", {"batch_size": None}, ["batch", "lr", "l2"], STAGES)
    assert [stage.name for stage in left_out] == ["rate", "decay", "refine"]


@pytest.mark.parametrize(
    ("parameters", "rate", "decay"),
    [
        (["units", "lr", "weight_decay"], "lr", "weight_decay"),
        (["eta", "lmbda"], "eta", "lmbda"),
        (["lambda_", "Learning_Rate", "lr_decay"], "Learning_Rate", "lambda_"),
    ],
)
def test_usual_names_are_known(parameters: list[str], rate: str, decay: str) -> None:
    stages, told = planned("one-at-a-time", {}, parameters, STAGES)
    assert stages[-1].only == [rate, decay]
    assert {stage.epochs for stage in stages} == {7}
    assert f"{rate} is the learning rate, {decay} is the weight decay" in told


def test_names_can_be_said_and_a_decay_left_out() -> None:
    options = {"rate": "lr_sgd", "decay": None, "trials": 5}
    stages, _ = planned("one-at-a-time", options, ["lr_sgd", "lr_adam", "wd"], STAGES)
    assert [stage.name for stage in stages] == ["rate", "refine"]
    assert (stages[0].only, stages[-1].trials) == (["lr_sgd"], 5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, r"which parameter is the learning rate\? .*Say --plan-option rate=NAME$"),
        ({"rate": "lr_a"}, "weight decay.*decay=NAME, or decay=null to leave it out"),
        ({"rate": "lr_c"}, "rate=lr_c: there is no such parameter. Did you mean lr_"),
        ({"rate": None}, "rate=None: there is no such parameter"),
        ({"rate": "lr_a", "decay": "lr_a"}, "a parameter of its own"),
        ({"rate": "lr_a", "decay": None, "trials": "many"}, "whole number"),
        ({"lr": "lr_a"}, "no option 'lr'; it has: rate, decay"),
    ],
)
def test_what_cannot_be_told_is_asked_for(options: dict[str, object], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        planned("one-at-a-time", options, ["lr_a", "lr_b", "wd", "l2"], STAGES)


def test_there_is_no_other_plan() -> None:
    with pytest.raises(UserError, match="no plan 'all-at-once'; there is: one-at-a-time"):
        planned("all-at-once", {}, ["lr"], STAGES)
