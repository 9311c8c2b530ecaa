"""How good answers are, and how sure one can be of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binned_statistic, bootstrap

from nnstudy.ensembles.answers import Array
from nnstudy.ensembles.calibration import gaussian_losses

BINS = 15
_LEVEL = 0.95
_RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A mean over examples, with its 95 % interval from a bootstrap over examples.

    Attributes:
        mean: What was measured.
        low: Lower end.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: NDArray[Any], seed: int = 0) -> Interval:
        """Returns the mean of values and its percentile interval (Efron and Tibshirani 1993).

        Args:
            values: One for each example.
            seed: Where the resamples come from.
        """
        return cls._resampled((values,), np.mean, seed)

    @classmethod
    def of_ratio(cls, over: NDArray[Any], under: NDArray[Any], seed: int = 0) -> Interval:
        """Returns the ratio of two means over the same examples, which are drawn together.

        Args:
            over: One value for each example.
            under: Likewise; their mean should be far from 0 for its error.
            seed: Where the resamples come from.
        """

        def ratio(above: NDArray[Any], below: NDArray[Any], axis: int) -> NDArray[Any]:
            return np.asarray(above.mean(axis) / below.mean(axis))

        return cls._resampled((over, under), ratio, seed)

    @classmethod
    def _resampled(
        cls, samples: tuple[NDArray[Any], ...], statistic: Callable[..., Any], seed: int
    ) -> Interval:
        samples = tuple(np.asarray(values, dtype=np.float64) for values in samples)
        found = bootstrap(
            samples,
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=_RESAMPLES,
            batch=max(1, 2_000_000 // len(samples[0])),
            confidence_level=_LEVEL,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        value = statistic(*samples, axis=0)
        return cls(float(value), float(found.low), float(found.high))


@dataclass(frozen=True)
class ReliabilityBin:
    """Answers that were about equally sure.

    Attributes:
        count: How many.
        confidence: The mean probability of the class that was answered.
        accuracy: The share that was right.
    """

    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class ClassMeasures:
    """How one class is recognised.

    Attributes:
        precision: Of the answers with this class the share that is right.
        recall: Of the examples of this class the share that is answered right.
        f1: Their harmonic mean.
        support: Examples of the class.
    """

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ClassificationMeasures:
    """How good probabilities of classes are.

    Attributes:
        right: Whether each answer is right, ``(N,)``.
        nll: Mean negative log-likelihood, in nats.
        brier: Mean squared distance to the one-hot class, summed over classes, 0 to 2 (Brier
            1950).
        ece: Expected calibration error: the mean distance of confidence and accuracy over 15
            bins of equal width, by their examples (Naeini et al. 2015).
        reliability: The bins that hold examples.
        classes: Of each class.
    """

    right: NDArray[np.bool_] = field(repr=False)
    nll: float
    brier: float
    ece: float
    reliability: tuple[ReliabilityBin, ...]
    classes: tuple[ClassMeasures, ...]

    @property
    def errors(self) -> Array:
        """1 for each wrong answer and 0 for each right one, ``(N,)``."""
        return (~self.right).astype(np.float64)

    @cached_property
    def interval(self) -> Interval:
        """The share of right answers."""
        return Interval.of(self.right)

    @property
    def numbers(self) -> dict[str, float]:
        """The measures that are one number, by name."""
        accuracy = float(self.right.mean())
        return {"accuracy": accuracy, "nll": self.nll, "brier": self.brier, "ece": self.ece}

    def describe(self) -> dict[str, Any]:
        """Returns all of it as JSON-ready values."""
        return {
            **self.numbers,
            "accuracy": asdict(self.interval),
            "reliability": [asdict(one) for one in self.reliability],
            "classes": [asdict(one) for one in self.classes],
        }


@dataclass(frozen=True)
class RegressionMeasures:
    """How good numbers are, in the units that the networks were trained in.

    Attributes:
        squared: Squared error of each example, the mean over its numbers, ``(N,)``.
        mae: Mean absolute error.
        r2: Share of the targets' variance that is explained.
        nll: Mean negative log-likelihood per number, of a normal distribution.
    """

    squared: Array = field(repr=False)
    mae: float
    r2: float
    nll: float

    @property
    def errors(self) -> Array:
        """Squared error of each example, ``(N,)``."""
        return self.squared

    @cached_property
    def interval(self) -> Interval:
        """The mean squared error."""
        return Interval.of(self.squared)

    @property
    def numbers(self) -> dict[str, float]:
        """The measures that are one number, by name."""
        mse = float(self.squared.mean())
        return {"mse": mse, "mae": self.mae, "r2": self.r2, "nll": self.nll}

    def describe(self) -> dict[str, Any]:
        """Returns all of it as JSON-ready values."""
        return {**self.numbers, "mse": asdict(self.interval)}


Measures = ClassificationMeasures | RegressionMeasures


def measure_classes(probabilities: Array, targets: NDArray[Any]) -> ClassificationMeasures:
    """Measures probabilities of classes.

    Args:
        probabilities: ``(N, C)``.
        targets: ``(N,)`` class indices.
    """
    from sklearn.metrics import brier_score_loss, log_loss, precision_recall_fscore_support

    labels = np.arange(probabilities.shape[1])
    answered = probabilities.argmax(1)
    bins = reliability(probabilities, targets)
    per_class = precision_recall_fscore_support(targets, answered, labels=labels, zero_division=0.0)
    return ClassificationMeasures(
        answered == targets,
        float(log_loss(targets, probabilities, labels=labels)),
        float(brier_score_loss(targets, probabilities, labels=labels, scale_by_half=False)),
        sum(b.count * abs(b.confidence - b.accuracy) for b in bins) / len(targets),
        bins,
        tuple(
            ClassMeasures(float(precision), float(recall), float(f1), int(support))
            for precision, recall, f1, support in zip(*per_class, strict=True)
        ),
    )


def measure_numbers(mean: Array, variance: Array, targets: Array) -> RegressionMeasures:
    """Measures numbers.

    Args:
        mean: ``(N, K)``.
        variance: Of the normal distributions that are predicted, likewise.
        targets: Likewise.
    """
    from sklearn.metrics import mean_absolute_error, r2_score

    return RegressionMeasures(
        np.square(mean - targets).mean(1),
        float(mean_absolute_error(targets, mean)),
        float(r2_score(targets, mean)),
        float(gaussian_losses(mean, variance, targets).mean()),
    )


def reliability(probabilities: Array, targets: NDArray[Any]) -> tuple[ReliabilityBin, ...]:
    """Returns how often answers are right, by how sure they are (15 bins of equal width)."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == targets
    # scikit-learn's calibration_curve leaves out how many there are in a bin.
    means, _, which = binned_statistic(
        confidence, [confidence, right.astype(np.float64)], "mean", bins=BINS, range=(0, 1)
    )
    counts = np.bincount(which, minlength=BINS + 2)[1:-1]
    return tuple(
        ReliabilityBin(int(count), float(confidence), float(accuracy))
        for count, confidence, accuracy in zip(counts, *means, strict=True)
        if count
    )
