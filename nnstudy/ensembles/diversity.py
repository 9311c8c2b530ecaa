"""How far members of an ensemble differ, without which they could not help each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnstudy.ensembles.answers import Answers, Array


@dataclass(frozen=True)
class Diversity:
    """How far members differ, as means over all pairs.

    Attributes:
        disagreement: Share of the examples for which two members answer different classes; of
            numbers their mean squared distance. None where there is one member.
        error_correlation: Correlation of the errors of two members: whether each answer is
            wrong, or by how much. None where no pair has one.
    """

    disagreement: float | None
    error_correlation: float | None


def diversity(answers: Answers) -> Diversity:
    """Returns how far networks differ (Kuncheva and Whitaker 2003, "Measures of diversity").

    Args:
        answers: Of the members, each once.
    """
    if len(answers) < 2:
        return Diversity(None, None)
    if answers.probabilities is None:
        flat = answers.scores.reshape(len(answers), -1)
        errors = flat - answers.targets.reshape(-1)
        different = np.array([np.square(flat - one).mean(1) for one in flat])
    else:
        labels = answers.probabilities.argmax(-1)
        errors = (labels != answers.targets).astype(np.float64)
        different = np.array([(labels != one).mean(1) for one in labels])
    pairs = np.triu_indices(len(answers), 1)
    correlations = _correlations(errors)[pairs]
    known = correlations[np.isfinite(correlations)]
    return Diversity(float(different[pairs].mean()), float(known.mean()) if known.size else None)


def _correlations(errors: Array) -> Array:
    # A member without errors has no correlation with any other: NaN, and no warning.
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.corrcoef(errors))
