"""What an ensemble can be made of: checkpoints of a stored study's finished trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from optuna.trial import FrozenTrial

from nnstudy.errors import UserError
from nnstudy.search.confirmation.members import retrained
from nnstudy.search.endings import ending_of, facts_of, reached
from nnstudy.search.keeping import trial_directories
from nnstudy.search.plan import Plan
from nnstudy.search.settings import Settings
from nnstudy.search.stored import StoredStage
from nnstudy.training.checkpoints import CheckpointName

Source = Literal["top-trials", "seeds", "checkpoints", "average"]

_SAME = ("digest", "task", "classes", "class_names", "outputs", "shape", "normalise", "split")


@dataclass(frozen=True)
class Candidate:
    """Weights that one trial has kept.

    Attributes:
        plan: The trial's stage.
        trial: The trial.
        value: What these weights reached on the validation part.
            NaN where it is not known.
        place: Where they are kept: a path, or an artifact of MLflow.
        sources: What was asked for that it belongs to.
        averaged: The epochs whose uniform average they are, if they are one.
    """

    plan: Plan
    trial: FrozenTrial
    value: float
    place: str
    sources: tuple[Source, ...] = ()
    averaged: tuple[float, ...] = ()

    def __str__(self) -> str:
        """Returns how it is called where it is told of."""
        name, epoch = f"{self.plan.stage}/{self.trial.number}", self.checkpoint.epoch
        if self.averaged:
            return f"{name} averaged over epochs {', '.join(f'{one:g}' for one in self.averaged)}"
        if epoch is None:
            return name
        return (
            f"{name}{' averaged' if self.checkpoint.kind == 'average' else ''} at epoch {epoch:g}"
        )

    @property
    def key(self) -> str:
        """Tells it from all other candidates."""
        return self.place

    @property
    def checkpoint(self) -> CheckpointName:
        """What the file's name says."""
        return CheckpointName.parse(self.place.rpartition("/")[2]) or CheckpointName("best")

    def describe(self) -> dict[str, Any]:
        """Returns what it is, as JSON-ready values."""
        return {
            "stage": self.plan.stage,
            "trial": self.trial.number,
            "kind": self.checkpoint.kind,
            "epoch": self.checkpoint.epoch,
            "averaged": list(self.averaged),
            "from": list(self.sources),
            "value": None if math.isnan(self.value) else self.value,
            "params": self.trial.params,
            "run_id": facts_of(self.trial).get("run_id"),
            "checkpoint": self.place,
        }


def searched(stages: Sequence[StoredStage]) -> list[StoredStage]:
    """Returns the stages of a study whose trials can stand together in an ensemble.

    Those of a confirmation are the best trials again, and are no part of the search.

    Raises:
        UserError: If they were trained on different data, parts, classes or preprocessing: what
            one has validated on, another may have been trained on. Or with folds, for the same
            reason.
    """
    stages = [stage for stage in stages if stage.plan.kind == "search"]
    first = stages[0].plan
    refuse_folds(first)
    for stage in stages[1:]:
        data = stage.plan.data
        if other := [key for key in _SAME if data.get(key) != first.data.get(key)]:
            raise UserError(
                f"the stages {first.name!r} and {stage.plan.name!r} differ in their data"
                f" ({', '.join(other)}), so their networks cannot be one ensemble: what one was"
                " validated on, the other may have learnt by heart"
            )
    return stages


def refuse_folds(plan: Plan) -> None:
    """Raises UserError if a study's networks were trained on different folds of the data."""
    if plan.folds > 1:
        raise UserError(
            f"study {plan.study!r} is cross-validated: its networks were trained on different"
            " folds, each with a normalisation of its own, and cannot be one ensemble. Launch it"
            f" once more without folds: nnstudy launch {plan.reference} --folds 1 --name"
            f" {plan.study}-single"
        )


def top_trials(stages: Sequence[StoredStage]) -> list[Candidate]:
    """Returns the finished trials that have kept weights, across stages, the best first.

    Pruned ones are among them, by the best that they had reached. Of equal ones the later stage
    comes first, then the earlier trial.

    Raises:
        UserError: If there is none.
    """
    found = [
        candidate
        for stage in stages
        for trial in stage.optuna_study.get_trials(deepcopy=False)
        if (candidate := _of(stage.plan, trial)) is not None
    ]
    if not found:
        study = stages[0].plan.study
        raise UserError(
            f"study {study!r} has no finished trial that has kept weights; see nnstudy status"
            f" {study}"
        )
    sign = -1 if stages[0].plan.direction == "maximize" else 1
    later_first = sorted(found, key=lambda one: one.plan.order, reverse=True)
    return sorted(later_first, key=lambda one: sign * one.value)


def reinitialised(stages: Sequence[StoredStage]) -> list[Candidate]:
    """Returns the best configuration's trainings from other initialisations, seed by seed.

    Args:
        stages: All that are stored of the study.

    Raises:
        UserError: If no trial of the search is complete.
    """
    plan, trainings = retrained(stages) or (stages[0].plan, {})
    found = (_of(plan, trial) for trial in trainings.values())
    return [candidate for candidate in found if candidate is not None]


def _of(plan: Plan, trial: FrozenTrial) -> Candidate | None:
    """Returns a trial as a candidate; None where it is not finished, or has kept no weights."""
    place, value = facts_of(trial).get("checkpoint"), reached(trial)
    if ending_of(trial) not in ("complete", "pruned") or not place or value is None:
        return None
    return Candidate(plan, trial, value, place)


def kept_checkpoints(
    candidate: Candidate, settings: Settings, list_artifacts: Callable[[str], list[str]]
) -> list[Candidate]:
    """Returns all weights that a candidate's trial has kept, itself first.

    Args:
        candidate: Of the trial.
        settings: Where checkpoints are that have been moved.
        list_artifacts: Returns the places of a run's checkpoints, by the place of one of them.
    """
    place = candidate.place
    if place.startswith("runs:/"):
        places = list_artifacts(place)
    else:
        homes = [
            Path(place).parent,
            *trial_directories(candidate.plan, settings, candidate.trial.number),
        ]
        home = next((home for home in homes if home.is_dir()), homes[0])
        places = [str(path) for path in sorted(home.glob("*"))]
    found = [candidate]
    for other in places:
        name = CheckpointName.parse(other.rpartition("/")[2])
        if name is None or name == candidate.checkpoint or name.score is None:
            continue
        found.append(replace(candidate, place=other, value=name.score))
    return found
