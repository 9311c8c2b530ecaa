"""What came of a distillation: student, teacher and single networks on the same examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from nnstudy.ensembles.answers import Answers, Array
from nnstudy.ensembles.cost import Costs, Model, costs_of
from nnstudy.ensembles.cross_fitting import SINGLE, calibrated, compare, one_of, rightness, surprise
from nnstudy.ensembles.distillation.teaching import TeachingEnsemble
from nnstudy.ensembles.measures import Interval, Measures
from nnstudy.ensembles.pool import Pool, answers_of
from nnstudy.ensembles.predictions import Predictor, predict
from nnstudy.errors import UserError
from nnstudy.search.distillation.lesson import MIX, TEMPERATURE, is_hard
from nnstudy.search.plan import Plan
from nnstudy.search.rebuilding import rebuild
from nnstudy.training.losses import link_of

SINGLE_BEST = "single best"
ENSEMBLE = "ensemble"
HARD = "trained on the labels alone"
STUDENT = "distilled"


@dataclass(frozen=True)
class Kept:
    """How far a student comes from the single best network to the ensemble, in one measure.

    Attributes:
        ensemble: What the ensemble gains over the single best, example by example.
        student: What the student gains over the single best.
        hard: What a network that learnt the labels alone gains over the single best; None where
            there is none.
        over_hard: What the student gains over that network; None likewise.
        share: The student's gain as a share of the ensemble's; None where the ensemble's cannot be
            told from none.
    """

    ensemble: Interval
    student: Interval
    hard: Interval | None
    over_hard: Interval | None
    share: Interval | None

    @classmethod
    def of(cls, worth: Mapping[str, Array]) -> Kept:
        """Compares networks by what each example is worth to them, ``(N,)``; more is better.

        Args:
            worth: By name: of the single best, the ensemble and the student, and of the one that
                learnt the labels alone if it is there.
        """
        ensemble = worth[ENSEMBLE] - worth[SINGLE_BEST]
        student = worth[STUDENT] - worth[SINGLE_BEST]
        gain = Interval.of(ensemble)
        return cls(
            gain,
            Interval.of(student),
            Interval.of(worth[HARD] - worth[SINGLE_BEST]) if HARD in worth else None,
            Interval.of(worth[STUDENT] - worth[HARD]) if HARD in worth else None,
            Interval.of_ratio(student, ensemble) if gain.low > 0 else None,
        )


@dataclass(frozen=True)
class Distillation:
    """What came of a distillation.

    Attributes:
        plan: Of its stage.
        teacher: Digest of the ensemble.
        student: The trial that was best on the validation part, of those that learnt from the
            ensemble.
        hard: The trial that learnt the labels alone, if it completed.
        students: All trials that completed, the best on the validation part first.
        members: Networks that the ensemble has.
        rows: Measures by name, on the selection part; of classes all are calibrated by folds.
        gain: In accuracy, or squared error.
        nll_gain: In negative log-likelihood.
        costs: What answers of the student and of the ensemble cost.
        examples: Of the selection part.
    """

    plan: Plan
    teacher: str
    student: FrozenTrial
    hard: FrozenTrial | None
    students: tuple[FrozenTrial, ...]
    members: int
    rows: dict[str, Measures]
    gain: Kept
    nll_gain: Kept
    costs: Costs
    examples: int

    @property
    def is_of_classes(self) -> bool:
        """Whether it answers with classes."""
        return bool(self.plan.data["task"] == "classification")

    def describe(self) -> dict[str, Any]:
        """Returns all there is to tell, as JSON-ready values."""
        return {
            "study": self.plan.study,
            "stage": self.plan.stage,
            "ensemble": self.teacher,
            "configuration": {key: self.plan.lesson[key] for key in ("stage", "trial")},
            "student": self.student.number,
            "hard": self.hard and self.hard.number,
            "students": [
                {
                    "trial": one.number,
                    "mix": one.params[MIX],
                    "temperature": one.params.get(TEMPERATURE),
                    "value": one.value,
                }
                for one in self.students
            ],
            "members": self.members,
            "examples": self.examples,
            "rows": {name: row.describe() for name, row in self.rows.items()},
            "gain": asdict(self.gain),
            "nll_gain": asdict(self.nll_gain),
            "costs": asdict(self.costs),
        }


def measure(
    plan: Plan,
    trials: list[FrozenTrial],
    teacher: TeachingEnsemble,
    pool: Pool,
    predictor: Predictor,
) -> Distillation:
    """Measures the best student on the selection part, beside the others.

    Students were chosen by the validation part. What is chosen or fitted by the selection part, the
    single best network, the ensemble and all temperatures, is measured by folds.

    Args:
        plan: Of the distillation's stage.
        trials: Of it.
        teacher: The ensemble.
        pool: The candidates that it was made of, asked.
        predictor: Rebuilds the networks.

    Raises:
        UserError: If no student has completed its training, or weights cannot be had.
    """
    students = _ranked(trials, plan)
    student = next((one for one in students if not is_hard(one)), None)
    hard = next((one for one in students if is_hard(one)), None)
    if student is None:
        raise UserError(
            f"no student of stage {plan.name!r} has completed its training; see nnstudy status"
            f" {plan.study} --trials"
        )
    compared = compare(pool.answers, teacher.procedure)
    seed, targets = teacher.procedure.seed, pool.answers
    predictions = {SINGLE_BEST: compared.single, ENSEMBLE: compared.prediction}
    taught = _Student.of(student, plan, predictor)
    if hard is not None:
        alone = _Student.of(hard, plan, predictor)
        predictions[HARD] = calibrated(alone.answers, seed)
    predictions[STUDENT] = calibrated(taught.answers, seed)
    members = np.flatnonzero(teacher.fitted.weights)
    return Distillation(
        plan,
        teacher.digest,
        student,
        hard,
        students,
        len(members),
        {name: one.measure(targets) for name, one in predictions.items()},
        Kept.of({name: rightness(one, targets) for name, one in predictions.items()}),
        Kept.of({name: -surprise(one, targets) for name, one in predictions.items()}),
        costs_of(taught.model, Model.of(pool, teacher.fitted, members, predictor), predictor),
        targets.examples,
    )


def _ranked(trials: list[FrozenTrial], plan: Plan) -> tuple[FrozenTrial, ...]:
    sign = -1 if plan.direction == "maximize" else 1
    complete = [one for one in trials if one.state is TrialState.COMPLETE]
    return tuple(sorted(complete, key=lambda one: (sign * one.values[0], one.number)))


@dataclass(frozen=True)
class _Student:
    """A student's network, and what it answers to the selection part."""

    answers: Answers
    model: Model

    @classmethod
    def of(cls, trial: FrozenTrial, plan: Plan, predictor: Predictor) -> _Student:
        data, settings = predictor.data, predictor.settings
        trained = rebuild(predictor.study, plan, data, trial, settings, predictor.fetch)
        link = link_of(trained.loss(data))
        scores = predict(trained.network, data.selection, data, settings.device)
        answers = answers_of([scores.double().numpy()], [link], data.selection, data)
        plain = SINGLE.fit(answers, one_of(1, 0), calibrate=False)
        network = trained.network.eval()
        return cls(answers, Model([network], [link], plain, answers.probabilities is not None))
