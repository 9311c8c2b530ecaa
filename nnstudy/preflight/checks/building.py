"""Whether the recipe builds all over its space, and whether the largest of it fits memory.

The points inside the space were tried when its parameters were found; here come its corners.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.checks.memory import check_memory
from nnstudy.preflight.corners import Corner, build_corners
from nnstudy.preflight.result import Check, Kind, Result
from nnstudy.preflight.words import shown
from nnstudy.study.blame import blame
from nnstudy.training import Recipe

_NAME = "building"
_KIND: Kind = "code"


def run(candidate: Candidate) -> list[Result]:
    """Builds the recipe at each corner, and asks of the largest network whether it fits."""
    failures = list(candidate.search.failures)
    corners, most = 0, -1
    largest: Corner | None = None
    for corner in build_corners(candidate):
        corners += 1
        if corner.error is not None:
            failures.append((corner.params, corner.error))
        elif isinstance(corner.returned, Recipe):
            weights = sum(p.numel() for p in corner.returned.network.parameters())
            if weights > most:
                largest, most = corner, weights
    results = [_judged(candidate, corners, failures)]
    if largest is not None:
        results.append(check_memory(candidate, largest))
    return results


def _judged(
    candidate: Candidate, corners: int, failures: Sequence[tuple[Mapping[str, Any], Exception]]
) -> Result:
    points = candidate.search.probes
    tried = f"{points} points and {corners} corners of its space"
    figures = {"points": points, "corners": corners, "failures": len(failures)}
    if not failures:
        return Result(_NAME, _KIND, "passed", f"the recipe builds at {tried}", "", figures)
    params, error = failures[0]
    return Result(
        _NAME,
        _KIND,
        "failed" if len(failures) == points + corners else "warned",
        f"the recipe raises at {len(failures)} of {tried}, first at {shown(params)}:"
        f" {blame(error, candidate.search.is_own)}",
        "Such trials will fail. Narrow the range, or raise optuna.TrialPruned where values do not"
        " go together.",
        figures,
    )


CHECK = Check(_NAME, _KIND, run)
