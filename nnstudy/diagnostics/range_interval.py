"""Which learning rates to search, read off range tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnstudy.diagnostics.range_test import RangeTest
from nnstudy.errors import UserError

# An edge of the interval is where a tenth of the whole fall is won, or lost again.
TENTH = 0.1
LEAST_FALL = 0.01  # of the loss before any step
STANDARD_ERRORS = 4.0
SMOOTHING_IN_DECADES = 0.15

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Where the loss falls in a range test.

    Attributes:
        low: The rate at which the loss begins to fall.
        high: The rate at which it stops falling: it rises again, or explodes.
        steepest: The rate at which it falls fastest.
        falls_at_once: Whether it falls at the test's lowest rate already.
        falls_on: Whether it falls up to the test's highest rate.
    """

    low: float
    high: float
    steepest: float
    falls_at_once: bool
    falls_on: bool


@dataclass(frozen=True)
class Suggestion:
    """Rates to search, from one or several range tests.

    Attributes:
        low: Where the loss begins to fall, rounded down to 1 or 3 times a power of ten.
        high: Where it stops falling, rounded up likewise.
        start: The rate to begin with, at which it falls fastest.
        intervals: What each test found; None where nothing fell.
    """

    low: float
    high: float
    start: float
    intervals: tuple[Interval | None, ...]


def smoothed(test: RangeTest) -> tuple[Curve, Curve]:
    """Returns the losses of a test without their noise, and the standard error of each.

    Each is a mean over its neighbours with weights ``exp(-½ (d / 0.15)²)``, d being the distance
    in decades of the rate. They look both ways, so that the curve is not shifted to higher
    rates, as it is by the one-sided mean that a running test has to make do with. An exploded
    loss counts as no higher than a ceiling, lest it hide the fall beside it: as far up as the
    fall was down, or what the loss was before any step.
    """
    decades = np.log10(test.rates)
    distances = (decades[:, None] - decades) / SMOOTHING_IN_DECADES
    weights = np.exp(-0.5 * np.square(distances))
    weights /= weights.sum(1, keepdims=True)
    losses = np.nan_to_num(test.losses, nan=np.inf, posinf=np.inf)
    fall = max(0.0, test.reference - losses.min())
    ceiling = max(test.reference + fall, test.before + 3 * test.noise)
    errors = test.noise * np.sqrt(np.square(weights).sum(1))
    return weights @ np.minimum(losses, ceiling), errors


def find_interval(test: RangeTest) -> Interval | None:
    """Reads off where the loss falls.

    With D the whole fall, from the loss before any step (or that of the best answer that ignores
    the inputs, where that is lower) to the least smoothed one, the interval reaches from where
    D/10 is won for good to where D/10 is lost again for good: from where learning begins to
    where it ends (Smith 2017, section 3.3). Where the slope is steepest is a rate to start with
    (Gugger 2018; fastai's ``steep``). More steps reach further down, as a longer training does.

    Returns:
        None where nothing falls: where D is not above four of its standard errors, or not
        above 1 % of the loss.
    """
    curve, errors = smoothed(test)
    falls = test.reference - curve
    errors = STANDARD_ERRORS * np.hypot(errors, test.error)
    best = int(falls.argmax())
    whole = falls[best]
    if whole <= max(errors[best], LEAST_FALL * abs(test.reference)):
        return None
    not_yet = np.flatnonzero(falls[:best] < np.maximum(TENTH * whole, errors[:best]))
    first = int(not_yet[-1]) + 1 if len(not_yet) else 0
    last = int(np.flatnonzero(falls >= (1 - TENTH) * whole)[-1])
    slopes = np.gradient(curve)[first : last + 1]
    return Interval(
        low=test.rates[first],
        high=test.rates[last],
        steepest=test.rates[first + int(slopes.argmin())],
        falls_at_once=first == 0,
        falls_on=last == len(test.rates) - 1 and not test.exploded,
    )


def suggest_rates(tests: Sequence[RangeTest]) -> Suggestion | None:
    """Suggests an interval of rates to search: the median of what the tests found.

    Tests that differ in the seed of weights and minibatches show how far it can be trusted.

    Returns:
        None where in half of the tests or more no rate makes the loss fall.

    Raises:
        UserError: If there are no tests.
    """
    if not tests:
        raise UserError("there are no range tests to suggest rates from")
    intervals = tuple(map(find_interval, tests))
    found = [interval for interval in intervals if interval]
    if 2 * len(found) <= len(tests):
        return None
    low, high, start = (
        10 ** float(np.median([math.log10(getattr(interval, name)) for interval in found]))
        for name in ("low", "high", "steepest")
    )
    return Suggestion(_rounded(low, math.floor), _rounded(high, math.ceil), start, intervals)


def why_none(tests: Sequence[RangeTest]) -> str:
    """Says in words and figures why there is nothing to suggest."""
    least = min(float(smoothed(test)[0].min()) for test in tests)
    before, reference, noise = (
        float(np.mean([getattr(test, name) for test in tests]))
        for name in ("before", "reference", "noise")
    )
    constant = f", and an answer that ignores the inputs has {reference:.4g}"
    return (
        f"no rate makes the loss fall: before any step it is {before:.4g}"
        f"{constant if reference < before else ''}; the least it comes to is {least:.4g}, which"
        f" may be chance, with {noise:.2g} from minibatch to minibatch. More steps tell more"
    )


def _rounded(rate: float, towards: Callable[[float], int]) -> float:
    """Rounds to 1 or 3 times a power of ten; half a decade apart, near enough."""
    # A rate that is such a number but for its last digits stays.
    halves = towards(round(2 * math.log10(rate), 1))
    return float(f"{3 if halves % 2 else 1}e{halves // 2}")
