"""Whether each parameter is searched on the scale that suits it.

Rates and decays act by factors: on a linear scale from 0.0001 to 1, nine tenths of all draws
lie above 0.1. So they are searched on a logarithmic scale; a dropout, whose effect adds up, on
a linear one (CS231n, "Learning", section "Hyperparameter optimization": ranges).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from optuna.distributions import FloatDistribution

from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.result import Check, Kind, Result

DECADE = 10.0
"""A range that is no wider than this factor may be searched either way."""

_RATES = {"lr", "eta", "learningrate"}
_DECAYS = {"wd", "decay", "weightdecay", "l1", "l2", "lambda", "lmbda", "lam", "penalty"}
_DROPOUTS = {"dropout", "drop"}
_NAME = "scales"
_KIND: Kind = "statistics"


def run(candidate: Candidate) -> list[Result]:
    """Looks at the scale of each real number that is searched, by its name."""
    searched = [
        (name, asked)
        for name, distributions in candidate.search.distributions.items()
        for asked in distributions
        if isinstance(asked, FloatDistribution)  # whole numbers are no rates
    ]
    results = [result for name, asked in searched for result in _judged(name, asked)]
    if results:
        return results
    found = f"{len(searched)} real numbers are searched, each on a scale that suits it"
    return [Result(_NAME, _KIND, "passed", found)]


def _judged(name: str, asked: FloatDistribution) -> Iterator[Result]:
    words = _words(name)
    shown = f"{name}, {asked.low:g} to {asked.high:g},"
    figures = {"name": name, "low": asked.low, "high": asked.high, "log": asked.log}
    if words & _DROPOUTS:
        if asked.log:
            yield Result(
                _NAME,
                _KIND,
                "warned",
                f"{shown} is a dropout searched on a logarithmic scale",
                "Most draws are small ones: leave log=True out.",
                figures,
            )
    elif words & (_RATES | _DECAYS) and not asked.log and _is_wide(asked):
        kind = "rate" if words & _RATES else "decay"
        start = f"{asked.high / 1e4:g}" if asked.low <= 0 else f"{asked.low:g}"
        yield Result(
            _NAME,
            _KIND,
            "warned",
            f"{shown} is a {kind} searched on a linear scale over more than a decade",
            f"Small values are hardly ever drawn: suggest_float({name!r}, {start},"
            f" {asked.high:g}, log=True).",
            figures,
        )


def _words(name: str) -> set[str]:
    """Returns the words of a name, each two of them together, too: ``weightdecay``."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+\d?|[A-Z]+|\d+", name)]
    return {*words, *(first + second for first, second in pairwise(words))}


def _is_wide(asked: FloatDistribution) -> bool:
    return asked.low <= 0 or asked.high / asked.low > DECADE


CHECK = Check(_NAME, _KIND, run)
