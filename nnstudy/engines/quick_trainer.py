"""How a quick look asks, builds and trains: alike for all models, each training told and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.trial import FixedTrial

from nnstudy.data import Data, Part
from nnstudy.engines.quick_result import ShortRun
from nnstudy.engines.quick_runs import QuickRuns
from nnstudy.engines.short_training import train_shortly
from nnstudy.errors import UserError
from nnstudy.search.events import Emit, Event
from nnstudy.study import Study
from nnstudy.study.blame import blame
from nnstudy.study.building import Conditions, build_training
from nnstudy.training import Record, Training
from nnstudy.training.own_loop import OwnTraining
from nnstudy.training.seeds import seed_everything

SECONDS = 20.0
"""The longest that one training may take."""


@dataclass(frozen=True)
class Trainer:
    """Trains the models of a quick look.

    Attributes:
        study: The study.
        data: Few examples of its data.
        unseen: Other examples, by which nothing is chosen.
        conditions: What all trainings have in common.
        is_own: Says of a file whether it is the user's, for the lines an error names.
        emit: Hears each validation.
    """

    study: Study
    data: Data
    unseen: Part
    conditions: Conditions
    is_own: Callable[[Path], bool]
    emit: Emit

    def ask(self, trial: optuna.Trial) -> Any:
        """Returns what the recipe returns, each time with the same initial weights."""
        seed_everything(self.study.seed)
        return self.study.recipe(trial, self.data)

    def ask_at(self, params: Mapping[str, Any]) -> Any:
        """Returns what the recipe returns at a point."""
        return self.ask(cast("optuna.Trial", FixedTrial(dict(params))))  # asks alike

    def build(self, recipe: Any) -> Training | OwnTraining:
        """Returns the training of what a recipe returned."""
        seed = (self.study.seed,)
        return build_training(recipe, self.study, self.data, self.conditions, seed=seed)

    def train(
        self,
        model: str,
        training: Training | OwnTraining,
        rate: float | None,
        params: Mapping[str, Any],
        runs: QuickRuns,
    ) -> ShortRun:
        """Trains, tells of each validation, and writes a run of MLflow."""

        def hear(record: Record) -> None:
            self.emit(Event("quick", _values(model, rate, record)))

        course = train_shortly(training, self.data, self.unseen, seconds=SECONDS, hear=hear)
        run = ShortRun(rate, params, course)
        runs.add(model, run)
        return run

    @contextmanager
    def blaming(self) -> Iterator[None]:
        """Tells an error of the user's code with its line."""
        try:
            yield
        except UserError:
            raise
        except optuna.TrialPruned as error:
            raise UserError(
                f"the recipe of study {self.study.name!r} gives up (TrialPruned) where it is"
                " tried: give Study(start=...) a point that can be trained"
            ) from error
        except Exception as error:
            raise UserError(
                f"the recipe of study {self.study.name!r} fails: {blame(error, self.is_own)}"
            ) from error


def _values(model: str, rate: float | None, record: Record) -> dict[str, Any]:
    told = {
        name.replace("/", "_"): record.values.get(name)
        for name in ("loss/train", "loss/valid", "accuracy/valid")
    }
    return {
        "model": model,
        "rate": rate,
        "epoch": record.epoch,
        "examples_seen": record.examples_seen,
        "seconds": record.seconds,
        **told,
    }
