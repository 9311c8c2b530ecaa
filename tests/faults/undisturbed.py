"""The same trials, trained again without a search, a database or any trouble."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import torch
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from nnstudy.data import Data
from nnstudy.search.opening import load_planned_data
from nnstudy.search.plan import Plan
from nnstudy.search.reporting import is_reported
from nnstudy.search.tracked import best_curves, curves
from nnstudy.search.watching import Watch
from nnstudy.study import Study
from nnstudy.study.building import build_training
from nnstudy.study.loading import load_study
from nnstudy.training import Record, Training
from nnstudy.training.checkpoints import read_weights
from nnstudy.training.seeds import seed_everything
from tests.faults.wholeness import checkpoint_file
from tests.launching import MEASURED, Curves, Place


@dataclass
class Undisturbed:
    """What a trial comes to when nothing happens to it.

    Attributes:
        curves: What MLflow is told, without times.
        reports: What Optuna is told, by step.
        best: The best record.
        weights: The network's after it.
    """

    curves: Curves
    reports: dict[int, float]
    best: Record
    weights: dict[str, torch.Tensor]


def assert_as_if_undisturbed(place: Place, file: Path) -> None:
    """Every finished trial has the numbers of its undisturbed training, exactly.

    One that was pruned has them as far as it came.
    """
    study = load_study(str(file)).study
    stored = place.study()
    plan = Plan.of(stored)
    data = load_planned_data(study, plan)
    for trial in stored.get_trials():
        if trial.state is TrialState.FAIL:
            continue
        told = place.numbers(trial.number)
        steps = max(step for step, _ in told["epoch"])
        expected = train_undisturbed(study, plan, data, trial, steps)
        assert told == expected.curves, f"trial {trial.number}"
        assert trial.intermediate_values == expected.reports, f"trial {trial.number}"
        _assert_facts(place, trial, expected, plan)


def train_undisturbed(
    study: Study, plan: Plan, data: Data, trial: FrozenTrial, steps: int
) -> Undisturbed:
    """Trains a trial again from its parameters and its seed, for some validations."""
    seed = (plan.seed, zlib.crc32(plan.stage.encode()), trial.number)
    with _one_thread():
        seed_everything(*seed)
        recipe = study.recipe(FixedTrial(trial.params, trial.number), data)
        training = build_training(recipe, study, data, plan.conditions("cpu"), seed=seed)
        assert isinstance(training, Training)
        return _Observer(training, plan, data.shape).observe(steps)


@dataclass
class _Observer:
    training: Training
    plan: Plan
    shape: tuple[int, ...]
    curves: Curves = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)

    def observe(self, steps: int) -> Undisturbed:
        watch = Watch(self.training, self.shape, lambda *picture: None)
        best: Record | None = None
        for record in self.training:
            watch.observe(record)
            if best is None or self._score(record) < self._score(best):
                best = record
                weights = copy.deepcopy(self.training.network.state_dict())
            self._tell(record, best)
            if record.step == steps:
                break
        assert best is not None
        # The value of the best epoch is one point, at step 0.
        for name, value in best_curves(best, self.plan.metric).items():
            self.curves[f"best/{name}"] = [(0, value)]
        return Undisturbed(self.curves, self.reports, best, weights)

    def _tell(self, record: Record, best: Record) -> None:
        for name, value in curves(record).items():
            if name.split("/")[0] not in MEASURED:
                self.curves.setdefault(name, []).append((record.step, value))
        if is_reported(record.step, self.training.budget.validations):
            self.reports[record.step] = self._score(best)

    def _score(self, record: Record) -> float:
        assert self.plan.direction == "minimize"
        return record.values[self.plan.metric]


def _assert_facts(place: Place, trial: FrozenTrial, expected: Undisturbed, plan: Plan) -> None:
    facts = trial.user_attrs["nnstudy"]
    assert facts["epochs"] == expected.curves["epoch"][-1][1]
    assert facts["best_epoch"] == expected.best.epoch
    if trial.state is TrialState.COMPLETE:
        assert facts["epochs"] == plan.epochs
        assert trial.value == expected.best.values[plan.metric]
    weights = read_weights(checkpoint_file(place, trial))
    assert weights.keys() == expected.weights.keys()
    for name, tensor in expected.weights.items():
        assert torch.equal(weights[name], tensor), f"trial {trial.number}: {name}"


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


optuna.logging.set_verbosity(optuna.logging.WARNING)
