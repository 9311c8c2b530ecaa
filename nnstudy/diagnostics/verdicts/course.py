"""The course of a training: its curves, why it ended, and what rules ask about them."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

Curve = list[tuple[float, float]]
"""Points ``(epoch, value)`` in their order, all finite."""

Choose = Callable[..., tuple[str, float]]
"""``min`` or ``max``."""


@dataclass(frozen=True)
class Course:
    """What is known of a training when it is judged.

    Everything but the curves may be missing, and so may any of the curves.

    Attributes:
        history: The curves' values after each validation, by name, with ``epoch`` among them:
            epochs completed, a fraction where validations fall inside one.
        ended: Why it ended: ``epochs`` (as many as there were to be), ``early stopping``,
            ``stopped`` (on request), ``pruned``, ``diverged`` or ``failed``.
        metric: Name of the curve that is optimised.
        direction: ``minimize`` or ``maximize`` the metric.
        classes: Number of classes; None for numbers.
        steps_per_epoch: Minibatches in an epoch.
        chance_loss: The loss of knowing nothing: ln C for cross-entropy of C classes.
        decay_per_step: Share by which weight decay alone shrinks the weights at each step:
            learning rate times ``weight_decay`` in PyTorch's spelling.
        first_layer_noise: See ``first_layer_noise``; of the weights at the end.
    """

    history: Sequence[Mapping[str, float]]
    ended: str = "epochs"
    metric: str = "loss/valid"
    direction: Literal["minimize", "maximize"] = "minimize"
    classes: int | None = None
    steps_per_epoch: float | None = None
    chance_loss: float | None = None
    decay_per_step: float | None = None
    first_layer_noise: float | None = None

    # -- Curves -----------------------------------------------------------------------------

    def curve(self, name: str) -> Curve:
        """Returns a curve without what is missing, NaN or infinite."""
        return [
            (epoch, record[name])
            for epoch, record in zip(self._epochs, self.history, strict=True)
            if name in record and math.isfinite(record[name])
        ]

    @cached_property
    def _epochs(self) -> list[float]:
        return [
            float(record.get("epoch", number))
            for number, record in enumerate(self.history, start=1)
        ]

    @property
    def epochs(self) -> float:
        """Epochs trained, up to the last validation."""
        return self._epochs[-1] if self._epochs else 0.0

    @property
    def steps(self) -> float | None:
        """Minibatches trained on, up to the last validation."""
        return self.epochs * self.steps_per_epoch if self.steps_per_epoch else None

    @cached_property
    def train_loss(self) -> Curve:
        """The mean loss of the minibatches between two validations."""
        return self.curve("loss/train")

    @cached_property
    def valid_loss(self) -> Curve:
        """The validation loss; without one, the metric as a loss (one minus an accuracy)."""
        if self.curve("loss/valid") or self.direction == "minimize":
            return self.curve("loss/valid") or self.curve(self.metric)
        return [(epoch, 1 - value) for epoch, value in self.curve(self.metric) if value <= 1]

    def first(self, section: str, choose: Choose) -> tuple[str, float] | None:
        """Returns the layer whose curve of a section (``saturated``) begins highest or lowest."""
        return self._chosen(section, choose, 0)

    def last(self, section: str, choose: Choose) -> tuple[str, float] | None:
        """Returns the layer whose curve of a section ends highest or lowest, and where."""
        return self._chosen(section, choose, -1)

    def _chosen(self, section: str, choose: Choose, position: int) -> tuple[str, float] | None:
        curves = {name.partition("/")[2]: self.curve(name) for name in self._names(section)}
        curves.pop(self._output_layer, None)
        values = {layer: curve[position][1] for layer, curve in curves.items() if curve}
        return choose(values.items(), key=lambda item: item[1]) if values else None

    @property
    def _output_layer(self) -> str:
        """The last layer, which may well be sure of its answers, or say little at first."""
        names = self._names("activation_std")  # of all layers, from the input to the output
        return names[-1].partition("/")[2] if names else ""

    def _names(self, section: str) -> list[str]:
        """Returns the names of a section's curves, each once."""
        return list(
            dict.fromkeys(
                name for record in self.history for name in record if name.startswith(f"{section}/")
            )
        )

    # -- Learning rate ----------------------------------------------------------------------

    @cached_property
    def update_ratio(self) -> Curve:
        """The ratio of update to weight norms: the median over weights, without biases.

        Biases often begin at zero, so that their first updates are of any size relative to it.
        """
        names = self._names("update_ratio")
        weights = [name for name in names if not name.endswith("bias")] or names
        medians = []
        for epoch, record in zip(self._epochs, self.history, strict=True):
            ratios = [record[n] for n in weights if math.isfinite(record.get(n, math.nan))]
            if ratios:
                medians.append((epoch, statistics.median(ratios)))
        return medians

    @property
    def largest_update(self) -> float | None:
        """The largest of the update ratios."""
        return max(value for _, value in self.update_ratio) if self.update_ratio else None

    @property
    def reach(self) -> float | None:
        """How often the weights' own size they could have moved: largest update times steps.

        A rate that is right for a thousand steps is too low for a hundred, so that the ratio
        alone does not tell.
        """
        if self.largest_update is None or self.steps is None:
            return None
        return self.largest_update * self.steps

    # -- Shapes -----------------------------------------------------------------------------

    @property
    def late_fall(self) -> float | None:
        """The share of the fall of the training loss that its second half made.

        A half (more, where the beginning was slow) where the loss falls linearly, nearly nothing
        where it falls exponentially. None for fewer than three points, and where it did not fall.
        """
        curve = self.train_loss
        if len(curve) < 3:
            return None
        fall = curve[0][1] - curve[-1][1]
        middle = (curve[0][0] + curve[-1][0]) / 2
        return (at(curve, middle) - curve[-1][1]) / fall if fall > 0 else None

    @property
    def rises(self) -> float | None:
        """The share of steps from one validation to the next at which the training loss rose.

        Of the second half of the training; None where that has fewer than three steps.
        """
        values = [value for _, value in self.train_loss]
        late = values[len(values) // 2 :]
        if len(late) < 4:
            return None
        return sum(b > a for a, b in itertools.pairwise(late)) / (len(late) - 1)

    @property
    def late_gain(self) -> float | None:
        """The share of the least validation loss that the last quarter of the training took off.

        Negative where it was never as low again; None for fewer than four points.
        """
        return _late_gain(self.valid_loss)

    @property
    def late_train_gain(self) -> float | None:
        """The same of the training loss."""
        return _late_gain(self.train_loss)

    def ends_best(self, tolerance: float) -> bool:
        """Tells whether the last validation loss is the least, but for a factor."""
        values = [value for _, value in self.valid_loss]
        return bool(values) and values[-1] <= tolerance * min(values)

    # -- Scores -----------------------------------------------------------------------------

    @property
    def chance(self) -> float | None:
        """The accuracy of guessing, for classes in equal shares."""
        return 1 / self.classes if self.classes and self.classes > 1 else None

    @property
    def gap(self) -> float | None:
        """Training minus validation accuracy, at the end."""
        train, valid = self.curve("accuracy/train"), self.curve("accuracy/valid")
        return train[-1][1] - valid[-1][1] if train and valid else None


def _late_gain(curve: Curve) -> float | None:
    if len(curve) < 4:
        return None
    begin = curve[0][0] + 0.75 * (curve[-1][0] - curve[0][0])
    before = min(value for epoch, value in curve if epoch <= begin)
    late = min(value for epoch, value in curve if epoch > begin)
    return 1 - late / before if before > 0 else None


def at(curve: Curve, epoch: float) -> float:
    """Returns a curve's value at an epoch, between points on a straight line."""
    epochs, values = zip(*curve, strict=True)
    return float(np.interp(epoch, epochs, values))
