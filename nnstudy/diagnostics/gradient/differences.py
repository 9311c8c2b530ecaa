"""Centred differences against what backpropagation gives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from nnstudy.diagnostics.gradient.kinks import Winners
from nnstudy.diagnostics.gradient.objective import Objective
from nnstudy.diagnostics.gradient.probes import Gradients, Probe

STEPS = (1e-5, 1e-4, 1e-6)
"""Steps h, in the order in which they are tried."""

_EPSILON = torch.finfo(torch.float64).eps
_REROLLS = 4


@dataclass(frozen=True)
class Comparison:
    """One derivative, by backpropagation and by a centred difference.

    Attributes:
        index: Of the coordinate in its tensor; None for a direction through all of it, or
            through several tensors.
        analytic: By backpropagation.
        numerical: By differences.
        error: The relative error.
        h: The step of the difference.
        is_zero: Whether both are too small to tell from the rounding of the loss.
    """

    index: tuple[int, ...] | None
    analytic: float
    numerical: float
    error: float
    h: float
    is_zero: bool


def relative_error(analytic: float, numerical: float, rounding: float = 0.0) -> float:
    """Returns |a - n| / max(|a|, |n|), 0 where both are zero (CS231n, "Gradient Checks").

    Args:
        analytic: The derivative a.
        numerical: The derivative n.
        rounding: By how much n may be off because the loss is rounded. A difference of not more
            than that is none, or derivatives that are zero would have the error 1.
    """
    gap = abs(analytic - numerical)
    if gap <= rounding:
        return 0.0
    return gap / max(abs(analytic), abs(numerical)) if math.isfinite(gap) else math.inf


class Differences:
    """Compares derivatives at one point, the one where the objective's parameters are now.

    Attributes:
        has_kinks: Whether the objective makes decisions on its way.
    """

    def __init__(self, objective: Objective, generator: torch.Generator) -> None:
        self._objective = objective
        self._value, winners = self._watched()
        self.has_kinks = bool(winners.decisions)
        self._noise = self._measure_noise(generator)

    def compare(self, probe: Probe, gradients: Gradients, fine: float) -> Comparison | None:
        """Compares one derivative, with other steps too where the first does not agree.

        Args:
            probe: In which direction parameters are moved; afterwards they are as before.
            gradients: What backpropagation gave; None counts as zero.
            fine: A relative error that needs no second try.

        Returns:
            The comparison of least error; None where the disagreement may come from a kink at
            every step. A kink can make a right gradient look wrong but not a wrong one right,
            so that those which agree are taken, crossed kinks or not.
        """
        analytic = probe.derivative(gradients)
        if not math.isfinite(analytic):
            return Comparison(probe.index, analytic, math.nan, math.inf, math.nan, False)
        best: Comparison | None = None
        for h in STEPS:
            after, winners_after = self._moved(probe, h)
            before, winners_before = self._moved(probe, -h)
            numerical = (after - before) / (2 * h)
            rounding = self._noise / h
            error = relative_error(analytic, numerical, rounding)
            found = Comparison(
                probe.index,
                analytic / self._objective.scale,
                numerical / self._objective.scale,
                error,
                h,
                is_zero=max(abs(analytic), abs(numerical)) <= rounding,
            )
            if error <= fine:
                return found
            may_be_kink = not winners_after.agree(winners_before) or _lies_between(
                analytic, (after - self._value) / h, (self._value - before) / h
            )
            if not may_be_kink and (best is None or error < best.error):
                best = found
        return best

    @torch.no_grad()
    def _moved(self, probe: Probe, distance: float) -> tuple[float, Winners]:
        moved = [(self._objective.parameters[name], d) for name, d in probe.directions.items()]
        starts = [parameter.clone() for parameter, _ in moved]
        for parameter, direction in moved:
            parameter.add_(direction, alpha=distance)
        result = self._watched()
        for (parameter, _), start in zip(moved, starts, strict=True):
            parameter.copy_(start)
        return result

    def _watched(self) -> tuple[float, Winners]:
        winners = Winners()
        return self._objective.value(winners), winners

    def _measure_noise(self, generator: torch.Generator) -> float:
        """Returns by how much rounding moves the loss: seen when parameters move by an ulp or two."""
        parameters = self._objective.parameters.values()
        starts = [parameter.detach().clone() for parameter in parameters]
        noise = _EPSILON * abs(self._value)
        for _ in range(_REROLLS):
            with torch.no_grad():
                for parameter in parameters:
                    factor = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                    parameter.mul_(1 + 2 * _EPSILON * factor.to(parameter.device))
            noise = max(noise, abs(self._objective.value() - self._value))
            with torch.no_grad():
                for parameter, start in zip(parameters, starts, strict=True):
                    parameter.copy_(start)
        return 2 * noise


def _lies_between(analytic: float, right: float, left: float) -> bool:
    """Tells a kink that PyTorch does not see, in a kernel or library of one's own.

    At a kink each side has a slope of its own, and backpropagation gives one of them or
    something between. Where there is none, the two are equal but for h times the curvature.
    """
    slack = abs(right - left) / 100  # for the curvature on the kink's own side
    return min(right, left) - slack <= analytic <= max(right, left) + slack
