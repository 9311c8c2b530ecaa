"""The two models of a quick look, each tried at several rates and judged once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.optim import LBFGS

from nnstudy.diagnostics.chance import Comparison, compare_accuracy
from nnstudy.engines.quick_models import (
    LinearModel,
    count_weights,
    rate_name,
    scale_rate,
    with_rates,
)
from nnstudy.engines.quick_result import Learner, ShortRun
from nnstudy.engines.quick_runs import QuickRuns
from nnstudy.engines.quick_trainer import Trainer
from nnstudy.engines.smallest import SmallPoint
from nnstudy.preflight.fit import refuse_misfit
from nnstudy.training import Recipe, Training
from nnstudy.training.seeds import seed_everything

LINEAR_RATES = (0.01, 0.1, 0.001, 1.0, 1e-4)
"""The most usual ones first; inputs that are not normalised need the last."""

FACTORS = (1.0, 0.1, 10.0)
"""The recipe's rate is multiplied by these, since that one rate fails says little."""

_LINEAR_BATCH = 10
_DIVERGED = "every rate diverged before the first validation"


def try_linear(trainer: Trainer, runs: QuickRuns) -> Learner:
    """Trains a linear model: softmax for classes, least squares for numbers."""
    data = trainer.data
    name = "linear softmax" if data.task == "classification" else "linear regression"
    found = []
    for rate in LINEAR_RATES:
        seed_everything(trainer.study.seed)
        network = LinearModel(data.shape, data.outputs)
        recipe = Recipe(
            network=network,
            optimizer=partial(torch.optim.SGD, lr=rate),
            batch_size=_LINEAR_BATCH,
        )
        found.append(trainer.train(name, trainer.build(recipe), rate, {}, runs))
        if _is_perfect(found[-1]):
            break
    best = _best(found)
    why = "" if best.course.judged else _DIVERGED
    return Learner(name, count_weights(network), tuple(found), best, best.course.judged, why)


def try_recipe(trainer: Trainer, point: SmallPoint, runs: QuickRuns, notes: list[str]) -> Learner:
    """Trains the recipe where its network is smallest, at its rate and two others.

    Args:
        trainer: Trains.
        point: Where the network is smallest.
        runs: Keep the trainings.
        notes: Get what could not be done.

    Raises:
        UserError: If it cannot be trained, with the line that raised.
    """
    with trainer.blaming():
        if not isinstance(point.returned, Recipe):
            return _own(trainer, point, runs, notes)
        found = _scaled(trainer, point, runs, notes)
    best, why = _best(found), ""
    if best.course.judged is None:
        why = "its outputs are no answers that could be compared with the targets"
    if best.course.best is None:
        why = _DIVERGED
    return Learner("recipe", point.weights, tuple(found), best, best.course.judged, why)


def _scaled(
    trainer: Trainer, point: SmallPoint, runs: QuickRuns, notes: list[str]
) -> list[ShortRun]:
    found = []
    for factor in FACTORS:
        recipe = trainer.ask_at(point.params)
        scaled = replace(recipe, epochs=None, optimizer=scale_rate(recipe.optimizer, factor))
        training = trainer.build(scaled)
        assert isinstance(training, Training)
        refuse_misfit(training, trainer.data)
        rate = max(float(group["lr"]) for group in training.optimizer.param_groups)
        found.append(trainer.train("recipe", training, rate, point.params, runs))
        if isinstance(training.optimizer, LBFGS):
            notes.append("L-BFGS searches its step by itself: its rate was not varied")
            break
        if _is_perfect(found[-1]):
            break
    return found


def _own(trainer: Trainer, point: SmallPoint, runs: QuickRuns, notes: list[str]) -> Learner:
    notes.append(
        "the recipe returns a training loop of its own: it ends only between epochs, and is judged"
        f" by what it reports of its {len(trainer.data.validation)} validation examples"
    )
    if point.weights is None:
        notes.append("its network is not known: its whole numbers are at their lowest values")
    name = rate_name(point.distributions)
    points: Iterable[Mapping[str, Any]] = [point.params]
    if name is None:
        notes.append("no parameter of it is called a rate, so that one rate was tried")
    else:
        points = with_rates(point.params, name, point.distributions[name], FACTORS)
    found = []
    for params in points:
        training = trainer.build(trainer.ask_at(params))
        rate = float(params[name]) if name else None
        found.append(trainer.train("recipe", training, rate, params, runs))
        if _is_perfect(found[-1]):
            break
    best = _best(found)
    verdict = _judge_own(trainer, found, best)
    why = (
        "" if verdict else "it reports no accuracy/valid, and chance is not known of other numbers"
    )
    return Learner("recipe", point.weights, tuple(found), best, verdict, why)


def _judge_own(trainer: Trainer, found: list[ShortRun], best: ShortRun) -> Comparison | None:
    """Judges a loop by the best accuracy that it reported, corrected for all it reported."""
    record = best.course.best
    accuracy = record.values.get("accuracy/valid") if record else None
    if accuracy is None or trainer.data.task != "classification" or not 0 <= accuracy <= 1:
        return None
    targets = trainer.data.validation.targets.cpu()
    looks = sum(len(run.course.records) for run in found)
    return compare_accuracy(round(accuracy * len(targets)), targets, looks=looks)


def _best(found: list[ShortRun]) -> ShortRun:
    return max(found, key=lambda run: run.course.rank)


def _is_perfect(run: ShortRun) -> bool:
    best = run.course.best
    return best is not None and best.values.get("accuracy/valid") == 1.0
