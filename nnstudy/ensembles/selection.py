"""Which networks an ensemble is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nnstudy.ensembles.answers import Answers, Array, Index
from nnstudy.ensembles.combination import Combine, answer, combine, contributions, loss

Select = Literal["all", "best-k", "greedy"]

_BAG_SHARE = 0.5


@dataclass(frozen=True)
class Selection:
    """Ensembles of growing size, and the one that is chosen of them.

    Attributes:
        path: How often each of M candidates counts in the ensemble of each size, ``(S, M)``.
        losses: What each ensemble's loss is on the data that were selected on, ``(S,)``.
        chosen: Which of them is chosen.
    """

    path: Array
    losses: Array
    chosen: int

    @property
    def weights(self) -> Array:
        """How often each candidate counts in the chosen ensemble, ``(M,)``."""
        return np.asarray(self.path[self.chosen])


def select(
    answers: Answers,
    how: Select,
    combination: Combine,
    size: int,
    *,
    bags: int = 0,
    seed: int = 0,
) -> Selection:
    """Chooses among candidates by the loss of what they answer together.

    Args:
        answers: Of M candidates, the best of the search first.
        how: ``all``: the first ``size`` of them; ``best-k``: the ``size`` that have the least
            loss alone; ``greedy``: see ``greedy``.
        combination: How answers are made one.
        size: Members at most.
        bags: Of greedy selection: in how many random halves of the candidates it is repeated;
            0: it is done once, among all.
        seed: Where the halves come from.
    """
    equal = np.ones(len(answers))
    if how == "all":
        return _growing(answers, combination, np.arange(len(answers))[:size], equal)
    if how == "best-k":
        order = np.argsort(alone(answers, combination), kind="stable")
        return _growing(answers, combination, order[:size], equal)
    if not bags:
        return greedy(answers, combination, size)
    counts = bagged(answers, combination, size, bags, seed)
    order = np.argsort(-counts, kind="stable")[: min(size, np.count_nonzero(counts))]
    return _growing(answers, combination, order, counts)


def greedy(answers: Answers, combination: Combine, size: int) -> Selection:
    """Adds the candidate that helps most, again and again, and takes the best set on the way.

    The same candidate may be added several times (Caruana, Niculescu-Mizil, Crew and Ksikes
    2004, "Ensemble selection from libraries of models", sections 2 and 2.1). The first set is
    the best candidate alone (as ``alone`` measures it: of votes, with one vote), so the chosen
    one is never worse than that on these data. After two additions it is as good as the best of
    all sets of one or two, if one of the best has that candidate in it.

    Args:
        answers: Of M candidates; of two that help equally the first is taken.
        combination: How answers are made one.
        size: Additions.
    """
    added = contributions(answers, combination)
    classes = answers.probabilities is not None
    total = np.zeros(added.shape[1:])
    counts = np.zeros(len(answers))
    path, losses = [], []
    for count in range(1, size + 1):
        # One candidate after another: all at once would take the memory of all answers several
        # times over, and be slower than what the cache holds.
        tried = [
            loss(answer(total + one, count, combination, classes=classes), answers.targets)
            for one in added
        ]
        best = int(np.argmin(tried))
        total = total + added[best]
        counts[best] += 1
        path.append(counts.copy())
        losses.append(float(tried[best]))
    return Selection(np.array(path), np.array(losses), int(np.argmin(losses)))


def bagged(answers: Answers, combination: Combine, size: int, bags: int, seed: int) -> Array:
    """Returns how often each candidate is chosen when several random halves are selected from.

    What looks good by accident is not in every half (Caruana et al. 2004, section 2.3).

    Args:
        answers: Of M candidates.
        combination: How answers are made one.
        size: Additions in each bag.
        bags: How many.
        seed: Where the halves come from.

    Returns:
        ``(M,)``, each bag counting equally.
    """
    generator = np.random.default_rng(seed)
    counts = np.zeros(len(answers))
    half = max(1, round(_BAG_SHARE * len(answers)))
    for _ in range(bags):
        bag = np.sort(generator.permutation(len(answers))[:half])
        weights = greedy(answers.of(bag), combination, size).weights
        counts[bag] += weights / weights.sum()
    return counts


def alone(answers: Answers, combination: Combine) -> Array:
    """Returns the loss of each candidate by itself, ``(M,)``."""
    classes = answers.probabilities is not None
    return np.array(
        [
            loss(answer(one, 1, combination, classes=classes), answers.targets)
            for one in contributions(answers, combination)
        ]
    )


def _growing(answers: Answers, combination: Combine, order: Index, counts: Array) -> Selection:
    """Takes all candidates of an order, the first ones for smaller ensembles."""
    path = np.zeros((len(order), len(answers)))
    for size, row in enumerate(path, start=1):
        row[order[:size]] = counts[order[:size]]
    losses = [float(loss(combine(answers, row, combination), answers.targets)) for row in path]
    return Selection(path, np.array(losses), len(path) - 1)
