"""Pre-flight: all checks at a few points of the space, before any budget is spent."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from nnstudy.data import Data
from nnstudy.errors import UserError
from nnstudy.preflight.candidate import Candidate, Search
from nnstudy.preflight.checks import ALL
from nnstudy.preflight.rehearsal import quiet_study
from nnstudy.preflight.report import Report, judge
from nnstudy.preflight.result import Check, Result
from nnstudy.study import Study
from nnstudy.study.blame import blame
from nnstudy.study.building import Conditions
from nnstudy.training.seeds import random_state, set_random_state

BUDGET_SECONDS = 20.0

MORE_POINTS = 17
"""Asked where a configuration fails at all points before.

With three before, twenty points miss a good choice that a fifth of the space has once in 87 times
(0.8 ** 20).
"""

_CHECKING = [Path(__file__).parents[1] / room for room in ("preflight", "diagnostics")]
_MODULE_CALLS = str(Path("torch", "nn", "modules", "module.py"))


def run_preflight(
    study: Study,
    data: Data,
    conditions: Conditions,
    *,
    points: Sequence[Mapping[str, Any]],
    search: Search,
    tell: Callable[[Result], None] = lambda result: None,
    budget: float = BUDGET_SECONDS,
    checks: Sequence[Check] = ALL,
) -> Report:
    """Puts every check to every point, and decides what follows.

    A check whose results have no ``params`` depends on data or space alone, and is not put to
    a second point. The first point is asked everything, the others what there is time for;
    what is not begun when the time is over is skipped, which the report says. Where a
    configuration fails at all points, more are drawn until one passes.

    Args:
        study: The study.
        data: Its data.
        conditions: What all trials have in common.
        points: Sampled values at which the recipe can be trained.
        search: What is known of the whole search.
        tell: Hears each result as soon as it stands.
        budget: Seconds after which no check is begun any more.
        checks: What to ask.

    Raises:
        Exception: A defect of a check. What the recipe, its network or its loss raise within
            one is a result.
    """
    started = time.perf_counter()
    made = datetime.now(UTC).isoformat(timespec="seconds")
    candidates = [
        Candidate(study, data, conditions, dict(point), seed=number, search=search)
        for number, point in enumerate(points)
    ]
    results: list[Result] = []
    for position, check in enumerate(checks, 1):
        share = budget * position / len(checks)
        found = _put(check, candidates, started, share, budget)
        if _fails_by_choice(found):
            for candidate in _more(candidates):
                if time.perf_counter() - started > budget:
                    break
                found += _ask(check, candidate)
                if not _fails_by_choice(found):
                    break
        for result in judge(found):
            tell(result)
            results.append(result)
    seconds = time.perf_counter() - started
    return Report(study.name, tuple(c.params for c in candidates), tuple(results), made, seconds)


def _fails_by_choice(results: Sequence[Result]) -> bool:
    """Tells whether a launch would be stopped by what values were sampled."""
    judged = [result for result in judge(results) if result.outcome == "failed"]
    return bool(judged) and all(r.kind == "configuration" and r.params for r in judged)


def _more(candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    """Draws other points of the space."""
    first = candidates[0]
    drawing = quiet_study(seed=1)
    for number in range(len(candidates), len(candidates) + MORE_POINTS):
        trial = drawing.ask()
        with suppress(Exception):  # what cannot be built has been told by others
            first.study.recipe(trial, first.data)
            yield replace(first, params=trial.params, seed=number)


def _put(
    check: Check, candidates: Sequence[Candidate], started: float, share: float, budget: float
) -> list[Result]:
    """Returns a check's results at the points for which there is time."""
    results: list[Result] = []
    for number, candidate in enumerate(candidates):
        spent = time.perf_counter() - started
        # Another point may save a configuration, so it gets what time there is.
        needed = number == 0 or (check.kind == "configuration" and not _any_passes(results))
        if spent > (budget if needed else share):
            break
        found = _ask(check, candidate)
        results += found
        if not any(result.params for result in found):
            break
    if not results:
        late = f"not begun within the {budget:g} s that pre-flight may take"
        why = late if candidates else "no sampled point can be trained"
        return [Result(check.name, check.kind, "skipped", why)]
    return results


def _any_passes(results: Sequence[Result]) -> bool:
    return any(result.outcome != "failed" for result in results)


def _ask(check: Check, candidate: Candidate) -> list[Result]:
    try:
        return check.run(candidate)
    except UserError as error:
        return [Result(check.name, check.kind, "skipped", str(error), params=candidate.params)]
    except Exception as error:
        if not _is_of_recipe(error, candidate.search.is_own):
            raise
        found = f"raises {blame(error, candidate.search.is_own)}"
        advice = "A trial may meet the same. If it cannot, launch with --no-preflight."
        return [
            Result(check.name, "configuration", "failed", found, advice, params=candidate.params)
        ]


def _is_of_recipe(error: Exception, is_own: Callable[[Path], bool]) -> bool:
    """Tells an error of the recipe, its network or its loss from a defect of a check."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if any(Path(files[-1]).is_relative_to(room) for room in _CHECKING):
        return False
    return any(file.endswith(_MODULE_CALLS) or is_own(Path(file)) for file in files)


@contextmanager
def undisturbed(threads: int) -> Iterator[None]:
    """Computes with so many threads, and leaves random generators and threads as they were."""
    state, before = random_state(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        set_random_state(state)
