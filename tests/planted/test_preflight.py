"""Bugs planted into a study of MNIST are named before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from nnstudy import Split, Study, losses
from nnstudy.data import load
from nnstudy.preflight import Result, run_preflight
from nnstudy.preflight.candidate import Search
from nnstudy.preflight.checks import (
    activity,
    chance,
    gradient,
    inputs,
    labels,
    leaks,
    learning,
    minibatch,
    order,
    outputs,
    overfitting,
    regularisation,
)
from nnstudy.preflight.result import Check
from nnstudy.study.building import Conditions
from tests.planted import mnist_studies as planted

pytestmark = pytest.mark.slow

ASKED: tuple[Check, ...] = (
    *(leaks.CHECK, order.CHECK, inputs.CHECK, minibatch.CHECK, outputs.CHECK),
    *(*chance.CHECKS, *learning.CHECKS, activity.CHECK, regularisation.CHECK),
    *(overfitting.CHECK, gradient.CHECK, labels.CHECK),
)
START = {"lr": 0.02, "weight_decay": 1e-5}
HELD_OUT_LAST = Split(validation=10_000, selection=0.0, shuffle=False)


def checked(study: Study, mnist: Path, **point: float) -> list[Result]:
    """Everything that is found at the study's start."""
    data = load(study.data, study.split, directory=mnist)
    metric, direction = study.objective(data.task)
    conditions = Conditions(epochs=1, metric=metric, direction=direction, device="cpu")
    report = run_preflight(
        study, data, conditions, points=[point or START], search=Search(), budget=math.inf,
        checks=ASKED,
    )  # fmt: skip
    return list(report.results)


def alarms(results: Sequence[Result]) -> dict[str, str]:
    return {r.check: f"{r.outcome}: {r.found}" for r in results if r.outcome in _ALARMING}


_ALARMING = ("failed", "warned")


def test_where_nothing_is_wrong_nothing_is_said(mnist: Path) -> None:
    assert alarms(checked(planted.study(), mnist)) == {}


@pytest.mark.parametrize(
    ("loss", "expected", "told"),
    [
        (losses.cross_entropy, math.log(10), "2.303 at chance (ln 10)"),
        (losses.BinaryCrossEntropy(), 10 * math.log(2), "6.931 at chance (10 x ln 2)"),
        (losses.MultiClassHinge(), 9.0, "9 at chance"),
    ],
    ids=["cross-entropy", "binary", "hinge"],
)
def test_the_loss_at_chance_is_recognised(
    loss: planted.Loss, expected: float, told: str, mnist: Path
) -> None:
    study = planted.study(partial(planted.with_loss, loss))
    (found,) = [r for r in checked(study, mnist) if r.check == "loss at chance"]
    assert found.outcome == "passed"
    assert told in found.found
    assert found.figures["chance"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("study", "check", "outcome", "words"),
    [
        (
            planted.study(data=planted.labels_shuffled),
            *("labels", "warned", "with shuffled labels"),
        ),
        (
            planted.study(planted.softmax_twice),
            *("outputs", "failed", "softmax outputs cannot bring the loss below"),
        ),
        (
            planted.study(planted.zero_grad_forgotten),
            *("step", "failed", "zero_grad of Forgetful leaves the gradients"),
        ),
        (
            planted.study(planted.wrong_backward),
            *("gradient", "failed", "2 of 4 tensors disagree. 1."),
        ),
        (
            planted.study(planted.frozen_layer),
            *("gradients", "warned", "not trained: hidden1.weight, hidden1.bias"),
        ),
        (
            planted.study(planted.deep_and_saturated),
            *("dead layers", "failed", "sigmoid1 is 9"),
        ),
        (
            planted.study(planted.deep_and_saturated),
            *("loss at chance", "failed", "2.303 at chance"),
        ),
        (
            planted.study(data=planted.not_shuffled),
            *("order", "failed", "two epochs have the same order"),
        ),
        (
            planted.study(data=planted.in_both_parts, split=HELD_OUT_LAST),
            *("leaks", "failed", "2000 of 10000 validation examples are also in the training"),
        ),
        (
            planted.study(data=planted.not_normalised),
            *("inputs", "warned", "from 0 to 255"),
        ),
    ],
    ids=[
        *("labels shuffled", "softmax twice", "zero_grad forgotten", "wrong sign in backward"),
        *("frozen layer", "std-1 weights", "std-1 weights, by the loss", "not shuffled"),
        *("validation examples in training", "not normalised"),
    ],
)
def test_a_planted_bug_is_named(
    study: Study, check: str, outcome: str, words: str, mnist: Path
) -> None:
    found = checked(study, mnist)
    named = [result for result in found if result.check == check and result.outcome == outcome]
    assert named, alarms(found)
    assert words in named[0].found
    assert named[0].advice
