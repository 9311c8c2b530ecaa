"""Timing two ways of doing something so that their ratio means something on a busy machine too."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

_WARM_UP = 5
_LEAST, _MOST = 5, 100
_SECONDS = 0.5


@dataclass(frozen=True)
class Times:
    """Seconds that each of two ways takes, medians over rounds.

    Attributes:
        one: Of the one way.
        other: Of the other.
        ratio: How many times as long the other takes: the median of the rounds' ratios.
    """

    one: float
    other: float
    ratio: float


def time_in_turns(one: Callable[[], object], other: Callable[[], object]) -> Times:
    """Times two ways in turns, five to a hundred rounds behind a warm-up.

    Args:
        one: Does it the one way, and returns when all is done, on a GPU too.
        other: Likewise.
    """
    rounds: list[tuple[float, float]] = []
    began = time.perf_counter()
    while len(rounds) < _WARM_UP + _LEAST or (
        len(rounds) < _WARM_UP + _MOST and time.perf_counter() - began < _SECONDS
    ):
        rounds.append((_seconds(one), _seconds(other)))
    counted = rounds[_WARM_UP:]
    return Times(
        median(first for first, _ in counted),
        median(second for _, second in counted),
        median(second / first for first, second in counted),
    )


def _seconds(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started
