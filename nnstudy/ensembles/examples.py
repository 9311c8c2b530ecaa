"""What an ensemble answers to each example of the selection part, and how sure it is, as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np

from nnstudy.ensembles.ensemble import Ensemble

OF_CLASSES = ("example", "target", "answer", "probability", "entropy", "disagreement", "right")
OF_NUMBERS = ("example", "target", "answer", "variance", "disagreement", "squared_error")


def as_csv(ensemble: Ensemble) -> str:
    """Returns a line for each example, in the order of the selection part.

    Each was answered by an ensemble that had not seen it, see ``cross_fitting``. Of several
    numbers an example has, targets and answers stand in one field, with spaces between them.

    Args:
        ensemble: The ensemble.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if ensemble.comparison.prediction.variance is None:
        writer.writerows([OF_CLASSES, *_classes(ensemble)])
    else:
        writer.writerows([OF_NUMBERS, *_numbers(ensemble)])
    return text.getvalue()


def _classes(ensemble: Ensemble) -> Iterator[tuple[object, ...]]:
    compared, targets = ensemble.comparison, ensemble.pool.answers.targets
    probabilities, unsure = compared.prediction.mean, compared.uncertainty
    names = ensemble.class_names
    for number, (target, answer) in enumerate(zip(targets, probabilities.argmax(1), strict=True)):
        yield (
            number,
            names[target],
            names[answer],
            f"{probabilities[number, answer]:.6g}",
            f"{unsure.total[number]:.6g}",
            f"{unsure.disagreement[number]:.6g}",
            int(target == answer),
        )


def _numbers(ensemble: Ensemble) -> Iterator[tuple[object, ...]]:
    compared, targets = ensemble.comparison, ensemble.pool.answers.targets
    answers, unsure = compared.prediction.mean, compared.uncertainty
    squared = np.square(answers - targets).mean(1)
    for number in range(len(targets)):
        yield (
            number,
            " ".join(f"{value:.6g}" for value in targets[number]),
            " ".join(f"{value:.6g}" for value in answers[number]),
            f"{unsure.total[number]:.6g}",
            f"{unsure.disagreement[number]:.6g}",
            f"{squared[number]:.6g}",
        )
