"""Candidates with their answers, and those that had to be left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnstudy.data import Data, Part
from nnstudy.ensembles.answers import Answers, Array
from nnstudy.ensembles.averages import Average, make
from nnstudy.ensembles.candidates import Candidate, Source
from nnstudy.ensembles.combination import class_probabilities
from nnstudy.ensembles.predictions import OtherData, Outputs, Predictor
from nnstudy.ensembles.selection import Select
from nnstudy.errors import UserError
from nnstudy.search.confirmation.members import identity
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
        candidates: The best of the search first, with which all is compared, whatever was asked
            for; then those that were.
        outputs: Of each.
        answers: The same as one array.
        skipped: What is missing.
    """

    candidates: tuple[Candidate, ...]
    outputs: tuple[Outputs, ...]
    answers: Answers
    skipped: tuple[Skipped, ...]

    def among(self, sources: Collection[Source], select: Select) -> tuple[int, ...]:
        """Returns which candidates may be members, see ``among``."""
        return among(self.candidates, sources, select)


def among(
    candidates: Sequence[Candidate], sources: Collection[Source], select: Select
) -> tuple[int, ...]:
    """Returns which candidates may be members: those of these sources.

    A configuration that the search has trained several times, since stages carry the best ones
    on, is among the top trials once, by its best run. Greedy selection has all runs: it adds
    what helps, and leaves alone what does not.

    Args:
        candidates: The better ones first.
        sources: What is asked for.
        select: How members are chosen.
    """
    found: list[int] = []
    met = set()
    for index, candidate in enumerate(candidates):
        asked = set(sources).intersection(candidate.sources)
        configuration = identity(candidate.trial.params)
        is_again = asked == {"top-trials"} and select != "greedy" and configuration in met
        if asked and not is_again:
            found.append(index)
        if "top-trials" in asked:
            met.add(configuration)
    return tuple(found)


def fill(
    ranked: Iterable[Candidate],
    gathered: Mapping[Source, Iterable[Candidate | Average]],
    most: int,
    predictor: Predictor,
) -> Pool:
    """Asks candidates for their answers until there are enough.

    Where there are several sources they take turns, so that the first ones are of all of them.

    Args:
        ranked: The trials of the search, the best one first.
        gathered: By source, the better ones first.
        most: How many of each source are wanted.
        predictor: Computes what they answer.

    Raises:
        UserError: If one was trained on other data, or fewer than two can be had.
    """
    asking = _Asking(predictor)
    best = asking.first(ranked, 1)
    by_source = {source: asking.first(wanted, most) for source, wanted in gathered.items()}
    turns = [key for turn in zip_longest(*by_source.values()) for key in turn if key is not None]
    skipped = tuple(asking.skipped.values())
    if len(set(turns)) < 2:
        reasons = "".join(f"\n  {one.candidate}: {one.reason}" for one in skipped)
        raise UserError(
            f"an ensemble needs at least two networks, and there are the weights of"
            f" {len(set(turns))}" + (f"; left out were:{reasons}" if reasons else "")
        )
    order = list(dict.fromkeys([*best, *turns]))
    candidates = tuple(
        replace(
            asking.found[key][0],
            sources=tuple(source for source, keys in by_source.items() if key in keys),
        )
        for key in order
    )
    outputs = tuple(asking.found[key][1] for key in order)
    data = predictor.data
    scores = [one.scores.double().numpy() for one in outputs]
    answers = answers_of(scores, [one.link for one in outputs], data.selection, data)
    return Pool(candidates, outputs, answers, skipped)


class _Asking:
    """Asks each candidate once, whatever it was gathered for.

    Attributes:
        found: Candidates and their answers, by key.
        skipped: Those that could not be asked, likewise.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.found: dict[str, tuple[Candidate, Outputs]] = {}
        self.skipped: dict[str, Skipped] = {}
        self._predictor = predictor

    def first(self, wanted: Iterable[Candidate | Average], most: int) -> list[str]:
        """Returns the keys of the first candidates that answer."""
        return list(islice((one.key for one in wanted if self._answers(one)), most))

    def _answers(self, wanted: Candidate | Average) -> bool:
        if wanted.key not in self.found and wanted.key not in self.skipped:
            try:
                candidate = make(wanted, self._predictor) if isinstance(wanted, Average) else wanted
                self.found[wanted.key] = candidate, self._predictor.on_selection(candidate)
            except OtherData:
                raise
            except UserError as error:
                self.skipped[wanted.key] = Skipped(str(wanted), str(error))
        return wanted.key in self.found


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
