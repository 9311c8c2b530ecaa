"""Measuring an ensemble on the data it is made by, without its own optimism.

The examples are dealt out to folds. All that is chosen or fitted (members, weights, temperature,
and the single network that they are compared with) is chosen on all folds but one and answers the
examples of that one. Put together, the answers to all examples are of procedures that had not seen
them (Stone 1974; Cawley and Talbot 2010, "On over-fitting in model selection").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from nnstudy.ensembles.answers import Answers, Array, Index
from nnstudy.ensembles.calibration import gaussian_losses
from nnstudy.ensembles.combination import losses
from nnstudy.ensembles.measures import Interval, Measures
from nnstudy.ensembles.procedure import Fitted, Prediction, Procedure
from nnstudy.ensembles.selection import Selection, alone
from nnstudy.ensembles.uncertainty import Uncertainty, uncertainty
from nnstudy.errors import UserError

FOLDS = 5
FEWEST_EXAMPLES = 2 * FOLDS

SINGLE = Procedure(combination="probabilities")
"""How a single network is fitted: as what it answers, whatever votes would be made of it."""


@dataclass(frozen=True)
class Point:
    """The calibrated ensemble of one size.

    Attributes:
        size: Members, each as often as it counts.
        numbers: Its measures, by name.
    """

    size: int
    numbers: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """An ensemble beside single networks, on examples that none of them was chosen by.

    Attributes:
        rows: Measures of ``best of the search`` (by validation), ``single best`` (by the
            selection part, as the ensemble is) and ``ensemble``; of classes also of the latter
            two ``, calibrated``, each with a temperature of its own.
        mean_member: The mean of each measure over the members, each as much as it counts.
        gain: By how much the ensemble is better than the single best, example by example:
            in accuracy, or squared error.
        nll_gain: Likewise in negative log-likelihood, both calibrated.
        curve: The ensemble against its size.
        prediction: What the ensemble answers to each example as it is used: calibrated.
        uncertainty: How unsure it is of that.
        single: What the single best answers to each example, calibrated likewise.
    """

    rows: dict[str, Measures]
    mean_member: dict[str, float]
    gain: Interval
    nll_gain: Interval
    curve: tuple[Point, ...]
    prediction: Prediction
    uncertainty: Uncertainty
    single: Prediction

    @property
    def final(self) -> Measures:
        """The last row: measures of the ensemble as it is used."""
        return list(self.rows.values())[-1]


@dataclass(frozen=True)
class _Choice:
    """What is chosen by the examples of a fold: ensembles of all sizes, and the single best."""

    selection: Selection
    single: Array

    @property
    def used(self) -> Array:
        """How often each candidate is needed, the best of the search once at least."""
        first = one_of(len(self.single), 0)
        return np.asarray(self.selection.path.sum(0) + self.single + first)

    def of(self, candidates: Index) -> _Choice:
        path = self.selection.path[:, candidates]
        return _Choice(replace(self.selection, path=path), self.single[candidates])


def _choose(answers: Answers, procedure: Procedure) -> _Choice:
    best = int(alone(answers, SINGLE.combination).argmin())
    return _Choice(procedure.selection(answers), one_of(len(answers), best))


def compare(answers: Answers, procedure: Procedure) -> Comparison:
    """Measures what a procedure makes of candidates, beside single ones.

    Args:
        answers: Of the candidates to all examples, the best of the search first.
        procedure: How an ensemble is made of them.

    Raises:
        UserError: If there are too few examples.
    """
    is_classes = answers.probabilities is not None
    splits = list(folds(answers, procedure.seed))
    choices = [_choose(answers.to(chosen_by), procedure) for chosen_by, _ in splits]
    # Hundreds of candidates there may be; those that no fold has chosen are done with.
    used = np.flatnonzero(sum(choice.used for choice in choices))
    answers, choices = answers.of(used), [choice.of(used) for choice in choices]
    seen = [answers.to(chosen_by) for chosen_by, _ in splits]
    paths, best = [choice.selection for choice in choices], [choice.single for choice in choices]
    chosen = [path.weights for path in paths]

    def predict(
        counts: list[Array], made: Procedure = SINGLE, *, calibrate: bool = False
    ) -> tuple[Prediction, list[Fitted]]:
        fitted = [
            made.fit(part, count, calibrate=calibrate)
            for part, count in zip(seen, counts, strict=True)
        ]
        return _put_together(answers, splits, fitted), fitted

    def predict_one(index: int) -> Prediction:
        return predict([one_of(len(answers), index)] * len(splits))[0]

    ensemble, fitted = predict(chosen, procedure)
    told = {
        "best of the search": predict_one(0),
        "single best": predict(best)[0],
        "ensemble": ensemble,
    }
    if is_classes:
        told["single best, calibrated"] = predict(best, calibrate=True)[0]
        told["ensemble, calibrated"], fitted = predict(chosen, procedure, calibrate=True)
    suffix = ", calibrated" if is_classes else ""
    single, final = told[f"single best{suffix}"], told[f"ensemble{suffix}"]
    curve = [
        predict(
            [path.path[min(size, len(path.path) - 1)] for path in paths], procedure, calibrate=True
        )[0]
        for size in range(max(len(path.path) for path in paths))
    ]
    return Comparison(
        {name: told[name].measure(answers) for name in sorted(told, key=_ROWS.index)},
        _mean_member(answers, np.mean([one.weights for one in fitted], axis=0), predict_one),
        Interval.of(rightness(final, answers) - rightness(single, answers)),
        Interval.of(surprise(single, answers) - surprise(final, answers)),
        tuple(
            Point(size, prediction.measure(answers).numbers)
            for size, prediction in enumerate(curve, start=1)
        ),
        final,
        _uncertainty(answers, splits, fitted),
        single,
    )


def worth(answers: Answers, procedure: Procedure) -> Measures:
    """Measures the calibrated ensemble that a procedure makes, as ``compare`` does.

    Args:
        answers: Of the candidates to all examples, the best of the search first.
        procedure: How an ensemble is made of them.

    Raises:
        UserError: If there are too few examples.
    """
    splits = list(folds(answers, procedure.seed))
    seen = (answers.to(chosen_by) for chosen_by, _ in splits)
    fitted = [procedure.fit(part, procedure.selection(part).weights) for part in seen]
    return _put_together(answers, splits, fitted).measure(answers)


def calibrated(answers: Answers, seed: int) -> Prediction:
    """Returns what one network answers, each fold calibrated by the others as ``compare`` does it.

    Args:
        answers: Of that network alone.
        seed: Where the folds come from.

    Raises:
        UserError: If there are too few examples.
    """
    splits = list(folds(answers, seed))
    counts = one_of(1, 0)
    fitted = [SINGLE.fit(answers.to(chosen_by), counts) for chosen_by, _ in splits]
    return _put_together(answers, splits, fitted)


_ROWS = (
    "best of the search",
    "single best",
    "single best, calibrated",
    "ensemble",
    "ensemble, calibrated",
)


def folds(answers: Answers, seed: int) -> Iterator[tuple[Index, Index]]:
    """Yields the examples to choose by and those to measure on, of each fold.

    Classes are in equal shares where each has enough examples.

    Raises:
        UserError: If there are too few examples.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    if answers.examples < FEWEST_EXAMPLES:
        raise UserError(
            f"the selection part has {answers.examples} examples; at least {FEWEST_EXAMPLES} are"
            " needed to choose members and to measure what that is worth"
        )
    targets = answers.targets
    kind = KFold
    if answers.probabilities is not None:
        counts = np.unique(targets, return_counts=True)[1]
        kind = StratifiedKFold if counts.min() >= FOLDS else KFold
    yield from kind(FOLDS, shuffle=True, random_state=seed).split(targets, targets)


def one_of(candidates: int, index: int) -> Array:
    """Returns the counts of an ensemble that is a single candidate."""
    counts = np.zeros(candidates)
    counts[index] = 1
    return counts


Splits = list[tuple[Index, Index]]


def _put_together(answers: Answers, splits: Splits, fitted: list[Fitted]) -> Prediction:
    parts = [
        one.predict(answers.to(measured_on))
        for (_, measured_on), one in zip(splits, fitted, strict=True)
    ]
    variances = [part.variance for part in parts if part.variance is not None]
    return Prediction(
        _in_order([part.mean for part in parts], splits),
        _in_order(variances, splits) if variances else None,
    )


def _uncertainty(answers: Answers, splits: Splits, fitted: list[Fitted]) -> Uncertainty:
    parts = [
        uncertainty(answers.to(measured_on), one)
        for (_, measured_on), one in zip(splits, fitted, strict=True)
    ]
    return Uncertainty(
        _in_order([part.total for part in parts], splits),
        _in_order([part.disagreement for part in parts], splits),
    )


def _in_order(parts: list[Array], splits: Splits) -> Array:
    """Returns what was computed of each fold in the order of the examples."""
    places = np.concatenate([measured_on for _, measured_on in splits])
    return np.asarray(np.concatenate(parts)[np.argsort(places)])


def _mean_member(
    answers: Answers, weights: Array, predict: Callable[[int], Prediction]
) -> dict[str, float]:
    members = np.flatnonzero(weights)
    numbers = [predict(int(member)).measure(answers).numbers for member in members]
    return {
        name: float(np.average([each[name] for each in numbers], weights=weights[members]))
        for name in numbers[0]
    }


def rightness(prediction: Prediction, answers: Answers) -> Array:
    """Returns whether each class is right, 0 or 1, or the negative squared error: ``(N,)``."""
    if prediction.variance is None:
        return np.asarray(prediction.mean.argmax(1) == answers.targets, dtype=np.float64)
    return -losses(prediction.mean, answers.targets)


def surprise(prediction: Prediction, answers: Answers) -> Array:
    """Returns the negative log-likelihood of each example, ``(N,)``."""
    if prediction.variance is None:
        return losses(prediction.mean, answers.targets)
    return gaussian_losses(prediction.mean, prediction.variance, answers.targets)
