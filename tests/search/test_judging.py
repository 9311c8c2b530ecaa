"""Verdicts on real trials: given at the end, kept with the trial, told to MLflow."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState
from torch import nn

from nnstudy import Recipe
from nnstudy.data import Data
from nnstudy.diagnostics.verdicts import RULES
from nnstudy.search import judging
from tests.launching import InterruptAt, Place, network, toy

RATES = [1e-4, 1e-1, 1e6]


def rates(trial: optuna.Trial, data: Data) -> Recipe:
    lr = trial.suggest_float("lr", 1e-5, 1e7, log=True)
    return Recipe(
        network=network(data),
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9),
        loss=lambda output, target: nn.functional.mse_loss(
            output, nn.functional.one_hot(target, 3).float()
        ),
        batch_size=8,
    )


def facts(place: Place, number: int) -> dict[str, Any]:
    kept: dict[str, Any] = place.trials()[number].user_attrs["nnstudy"]
    return kept


def names(place: Place, number: int) -> list[str]:
    return [verdict["name"] for verdict in facts(place, number)["verdicts"]]


def test_every_trial_is_judged_at_its_end_whatever_that_is(place: Place) -> None:
    start = [{"lr": rate} for rate in RATES]
    place.launch(toy(rates, trials=3, epochs=5, start=start), preflight=False)

    assert "learning rate too low" in names(place, 0)
    assert "learning rate too high" not in names(place, 1)
    assert names(place, 2) == ["diverged"]
    for number in range(3):
        tags = place.run(number).data.tags
        assert tags["nnstudy.verdicts"] == ", ".join(names(place, number))
        for verdict in facts(place, number)["verdicts"]:
            assert f"**{verdict['name']}**: {verdict['evidence']}" in tags["mlflow.note.content"]
            assert verdict["advice"] in tags["mlflow.note.content"]
            assert all(map(math.isfinite, verdict["figures"].values()))
    story = place.stage_run().data.tags["mlflow.note.content"]
    assert "- diverged: 1 of 3 trials (33%)" in story


def test_a_pruned_trial_is_judged_by_what_there_is_of_it(place: Place) -> None:
    study = toy(
        rates,
        trials=2,
        epochs=8,
        pruner="median",
        pruner_options={"n_startup_trials": 1},
        start=[{"lr": 0.1}, {"lr": 1e-4}],
        metric="loss/valid",
    )
    place.launch(study, preflight=False)
    assert place.trials()[1].state is TrialState.PRUNED
    assert {"still improving when stopped", "diverged"}.isdisjoint(names(place, 1))
    assert place.run(1).data.tags["nnstudy.verdicts"] == ", ".join(names(place, 1))


@pytest.mark.usefixtures("every_epoch_is_told")
def test_a_trial_that_is_gone_on_with_is_judged_by_its_whole_history(
    place: Place, new_place: Any
) -> None:
    study = toy(rates, trials=1, epochs=6, start=[{"lr": 1e-4}])
    undisturbed = new_place("undisturbed")
    undisturbed.launch(study, preflight=False)
    at_fourth = InterruptAt(trial=0, epoch=4)
    place.launch(study, hear=at_fourth, interruption=at_fourth.interruption, preflight=False)
    assert place.trials()[0].state is TrialState.RUNNING

    place.launch(study, preflight=False)

    assert facts(place, 0)["verdicts"] == facts(undisturbed, 0)["verdicts"]
    assert "learning rate too low" in names(place, 0)


def test_an_own_loop_is_judged_by_the_curves_that_it_yields(place: Place) -> None:
    def falling(trial: optuna.Trial, data: Data) -> list[dict[str, float]]:
        start = trial.suggest_float("start", 1, 2)
        return [{"loss/valid": start / epoch} for epoch in range(1, 9)]

    place.launch(toy(falling, trials=1, epochs=8, metric="loss/valid"))
    assert names(place, 0) == ["still improving when stopped"]


def test_what_rules_know_of_a_trial_is_that_of_its_recipe(place: Place) -> None:
    def decayed(trial: optuna.Trial, data: Data) -> Recipe:
        return Recipe(
            network=network(data),
            optimizer=partial(torch.optim.SGD, lr=trial.suggest_float("lr", 0.1, 10)),
            l2=4.0,
            batch_size=16,
        )

    seen: list[judging.Course] = []

    def remember(course: judging.Course) -> list[Any]:
        seen.append(course)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "judge", remember)
        place.launch(toy(decayed, trials=1, epochs=3, start=[{"lr": 0.5}]), preflight=False)
    [course] = seen
    examples = 4.0 * 0.5 / course.decay_per_step if course.decay_per_step else 0
    assert examples == pytest.approx(96)  # 150 without the test part and the validation part
    assert course.steps_per_epoch == 6
    assert course.classes == 3
    assert course.chance_loss == pytest.approx(math.log(3))
    assert course.first_layer_noise is None  # no images
    assert [record["epoch"] for record in course.history] == [1, 2, 3]
    assert course.ended == "epochs"


def test_a_defect_of_a_rule_costs_no_trial_and_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(course: Any) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(
        judging, "judge", partial(judging.judge, rules=[replace(RULES[0], find=broken)])
    )
    place.launch(toy(trials=2, epochs=2))

    assert [trial.state for trial in place.trials()] == [TrialState.COMPLETE] * 2
    assert facts(place, 0)["verdicts"] == []
    assert "ZeroDivisionError: a defect" in facts(place, 0)["verdicts_defect"]
    assert any("a defect of nnstudy" in text for text in place.texts("warning"))
    note = place.run(0).data.tags["mlflow.note.content"]
    assert "ZeroDivisionError: a defect" in note
    assert "report it" in note
