"""From candidates' answers to an ensemble: select, weigh, calibrate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nnstudy.ensembles.answers import Answers, Array, Index
from nnstudy.ensembles.calibration import fit_noise, fit_temperature, spread, tempered
from nnstudy.ensembles.combination import Combine, combine, fit_weights, loss
from nnstudy.ensembles.measures import Measures, measure_classes, measure_numbers
from nnstudy.ensembles.selection import Select, Selection, select


@dataclass(frozen=True)
class Prediction:
    """What an ensemble predicts for N examples.

    Attributes:
        mean: Probabilities ``(N, C)``, or numbers ``(N, K)``.
        variance: Of numbers, ``(N, K)``; None for classes.
    """

    mean: Array
    variance: Array | None = None

    def measure(self, answers: Answers) -> Measures:
        """Measures it against the truth."""
        if self.variance is None:
            return measure_classes(self.mean, answers.targets)
        return measure_numbers(self.mean, self.variance, answers.targets)


@dataclass(frozen=True)
class Fitted:
    """An ensemble.

    Attributes:
        weights: How much each of M candidates counts, 1 together.
        counts: How often each was chosen.
        combination: How answers are made one.
        temperature: What their probabilities are calibrated with, 1 for numbers.
        noise: Variance of numbers that is no member's, 0 for classes.
    """

    weights: Array
    counts: Array
    combination: Combine
    temperature: float = 1.0
    noise: float = 0.0

    def of(self, candidates: Index) -> Fitted:
        """Returns the same ensemble for the answers of these candidates alone."""
        return replace(self, weights=self.weights[candidates], counts=self.counts[candidates])

    def predict(self, answers: Answers) -> Prediction:
        """Returns what it predicts from the answers of all candidates."""
        if answers.probabilities is None:
            mean, variance = spread(answers.scores, self.weights)
            return Prediction(mean, variance + self.noise)
        mean = combine(answers, self._votes, self.combination)
        return Prediction(tempered(mean, self.temperature) if self.temperature != 1 else mean)

    @property
    def _votes(self) -> Array:
        # How many votes there are decides how much their smoothing does.
        return self.counts if self.combination == "vote" else self.weights


@dataclass(frozen=True)
class Procedure:
    """How an ensemble is made of candidates.

    Attributes:
        select: How members are chosen.
        combination: How answers are made one.
        size: Members at most.
        bags: Of greedy selection, 0: none.
        seed: Where random choices come from.
        among: Which candidates may be members; None: all.
    """

    select: Select = "greedy"
    combination: Combine = "probabilities"
    size: int = 10
    bags: int = 0
    seed: int = 0
    among: tuple[int, ...] | None = None

    def selection(self, answers: Answers) -> Selection:
        """Chooses members by the answers of all candidates, the best of the search first."""
        among = np.arange(len(answers)) if self.among is None else np.array(self.among)
        found = select(
            answers if len(among) == len(answers) else answers.of(among),
            self.select,
            self.combination,
            self.size,
            bags=self.bags,
            seed=self.seed,
        )
        path = np.zeros((len(found.path), len(answers)))
        path[:, among] = found.path
        return replace(found, path=path)

    def fit(self, answers: Answers, counts: Array, *, calibrate: bool = True) -> Fitted:
        """Weighs chosen members, and calibrates what they answer together.

        Args:
            answers: Of all candidates.
            counts: How often each of them was chosen.
            calibrate: Whether probabilities get a temperature; numbers always get a variance.
        """
        weights = counts / counts.sum()
        if self.combination == "weighted":
            weights = _least_loss(answers, weights)
        if answers.probabilities is None:
            noise = fit_noise(*spread(answers.scores, weights), answers.targets)
            return Fitted(weights, counts, self.combination, noise=noise)
        plain = Fitted(weights, counts, self.combination)
        if not calibrate:
            return plain
        temperature = fit_temperature(plain.predict(answers).mean, answers.targets)
        return Fitted(weights, counts, self.combination, temperature)


def _least_loss(answers: Answers, weights: Array) -> Array:
    """Returns weights of the same members with the least loss, never with more than these have."""
    members = np.flatnonzero(weights)
    found = np.zeros(len(answers))
    found[members] = fit_weights(answers.of(members))
    # The minimum is found to some digits; what was there before may be as near to it.
    both = [loss(combine(answers, one, "weighted"), answers.targets) for one in (weights, found)]
    return found if both[1] < both[0] else weights
