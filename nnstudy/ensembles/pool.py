"""Candidates with their answers, and those that had to be left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnstudy.data import Data, Part
from nnstudy.ensembles.answers import Answers, Array
from nnstudy.ensembles.candidates import Candidate
from nnstudy.ensembles.combination import class_probabilities
from nnstudy.ensembles.predictions import OtherData, Outputs, Predictor
from nnstudy.errors import UserError
from nnstudy.training.losses import Link


@dataclass(frozen=True)
class Skipped:
    """A candidate that cannot be had any more.

    Attributes:
        candidate: How it is called.
        reason: Why, in words.
    """

    candidate: str
    reason: str


@dataclass(frozen=True)
class Pool:
    """Candidates with what they answer to the selection part.

    Attributes:
        candidates: The best of the search first.
        outputs: Of each.
        answers: The same as one array.
        skipped: What is missing.
    """

    candidates: tuple[Candidate, ...]
    outputs: tuple[Outputs, ...]
    answers: Answers
    skipped: tuple[Skipped, ...]


def fill(candidates: Iterable[Candidate], most: int, predictor: Predictor) -> Pool:
    """Asks candidates for their answers until there are enough.

    Args:
        candidates: The best of the search first.
        most: How many are wanted.
        predictor: Computes what they answer.

    Raises:
        UserError: If one was trained on other data, or fewer than two can be had.
    """
    found: list[Candidate] = []
    outputs: list[Outputs] = []
    skipped: list[Skipped] = []
    for candidate in candidates:
        if len(found) == most:
            break
        try:
            outputs.append(predictor.on_selection(candidate))
        except OtherData:
            raise
        except UserError as error:
            skipped.append(Skipped(str(candidate), str(error)))
        else:
            found.append(candidate)
    if len(found) < 2:
        reasons = "".join(f"\n  {one.candidate}: {one.reason}" for one in skipped)
        raise UserError(
            f"an ensemble needs at least two networks, and there are the weights of {len(found)}"
            + (f"; left out were:{reasons}" if reasons else "")
        )
    data = predictor.data
    scores = [one.scores.double().numpy() for one in outputs]
    answers = answers_of(scores, [one.link for one in outputs], data.selection, data)
    return Pool(tuple(found), tuple(outputs), answers, tuple(skipped))


def answers_of(scores: list[Array], links: list[Link], part: Part, data: Data) -> Answers:
    """Returns what networks answer to a part, of the shapes that all have in common.

    Args:
        scores: Of each network, ``(N, K)``.
        links: What makes probabilities of each one's scores of classes.
        part: The examples.
        data: The study's data.
    """
    targets: NDArray[Any] = part.targets.cpu().numpy()
    if data.task == "classification":
        return stack(scores, links, targets, classes=True)
    return stack(scores, links, targets.reshape(len(targets), -1).astype(np.float64), classes=False)


def stack(
    scores: Sequence[Array], links: Sequence[Link], targets: NDArray[Any], *, classes: bool
) -> Answers:
    """Returns what networks answer to examples, of the shapes that all have in common.

    Args:
        scores: Of each network, ``(N, K)``.
        links: What makes probabilities of each one's scores of classes.
        targets: Of the examples, as in ``Answers``.
        classes: Whether networks answer with classes.
    """
    if not classes:
        return Answers(np.stack(scores), None, targets)
    probabilities = [
        class_probabilities(each, link) for each, link in zip(scores, links, strict=True)
    ]
    both = [
        np.concatenate([np.zeros_like(each), each], axis=1) if each.shape[1] == 1 else each
        for each in scores
    ]
    return Answers(np.stack(both), np.stack(probabilities), targets)
