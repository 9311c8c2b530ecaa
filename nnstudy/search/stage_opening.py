"""Opening a stage: its ranges and its first points, from what the stage before found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from optuna.storages import RDBStorage

from nnstudy.search import requests
from nnstudy.search.grid import grid_size
from nnstudy.search.locks import study_lock
from nnstudy.search.plan import Plan
from nnstudy.search.ranges.around import around
from nnstudy.search.ranges.holding import as_asked, held
from nnstudy.search.ranges.narrowing import carried, narrowed
from nnstudy.search.results import best_trial
from nnstudy.search.stored import StoredStage, require_stages
from nnstudy.search.timing.arms import arms, reference_for, spanning
from nnstudy.search.timing.comparison import Comparison, compared
from nnstudy.study import Study


def open_stage(storage: RDBStorage, study: Study, plan: Plan) -> Plan:
    """Settles what a stage searches, unless that has been done, by whichever worker.

    Values from different budgets are never mixed: what was best in the stage before is run
    again, as the first trials of this one.

    Args:
        storage: Optuna's storage.
        study: The study, for its start values.
        plan: The stage; the one before has come to its end.

    Returns:
        The plan as it is stored now.

    Raises:
        UserError: If a parameter is to be held at a value that cannot be had.
    """
    if plan.is_open:
        return plan
    with study_lock(storage, plan.study):
        stages = {stage.plan.stage: stage for stage in require_stages(storage, plan.study)}
        stored = stages[plan.stage]
        if stored.plan.is_open:
            return stored.plan
        before = [
            stage
            for stage in stages.values()
            if stage.plan.kind == "search" and stage.plan.order < plan.order
        ]
        opened = _opened(stored.plan, study, before)
        for point in _first_points(opened, study, before):
            requests.enqueue(stored.optuna_study, point, once=True)
        # Last, so that after a crash in between all of it is done again.
        opened.save(stored.optuna_study)
        return opened


def best_points(plan: Plan, last: StoredStage) -> list[dict[str, Any]]:
    """Returns the best points of the stage before that a stage is to try first.

    Args:
        plan: The stage, with its ranges.
        last: The stage before.
    """
    if plan.sampler.get("name") == "grid":
        return []  # it comes to each of its points in its own time
    return carried(
        plan.parsed_space(),
        plan.parsed_ranges(),
        last.optuna_study.get_trials(deepcopy=False),
        plan.direction,
        min(plan.carry, plan.trials),
    )


def _opened(plan: Plan, study: Study, before: list[StoredStage]) -> Plan:
    space = plan.parsed_space()
    ranges = as_asked(space)
    best = _best_so_far(before)
    if plan.around is not None:
        ranges = around(ranges, best, plan.around)
    elif before and plan.narrow and not plan.scaled:
        for stage in before:
            if not stage.plan.scaled:
                ranges = ranges.updated(stage.plan.parsed_ranges())
        trials = before[-1].optuna_study.get_trials(deepcopy=False)
        ranges = narrowed(space, ranges, trials, plan.direction, kept=plan.carry)
    start = study.start_points[0] if study.start_points else {}
    ranges = held(ranges, plan.only, plan.hold, best=best, start=start, settled=_settled(before))
    if plan.scaled:
        known = {**start, **best, **plan.hold}
        relative_to = reference_for(plan.only[0], plan.scaled, known)
        points = arms(space, relative_to, plan.limits)
        ranges = spanning(ranges, points)
        plan = replace(plan, relative_to=relative_to, trials=len(points))
    plan = replace(plan, ranges=ranges.to_list(), is_open=True)
    if plan.sampler.get("name") == "grid":
        size = grid_size(plan.searched_space(), plan.sampler["options"].get("points"))
        firsts = len(_first_points(plan, study, before))
        plan = plan.with_trials(min(plan.trials, size + firsts))
    return plan


def _first_points(plan: Plan, study: Study, before: list[StoredStage]) -> list[dict[str, Any]]:
    if plan.scaled:
        return arms(plan.parsed_space(), plan.relative_to, plan.limits)
    if plan.race:
        return []  # whatever is given is no sampler's merit
    if not before:
        return _kept_in(plan, study.start_points)
    return best_points(plan, before[-1])


def _kept_in(plan: Plan, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns start points without what the stage holds at another value."""
    not_searched = {entry.name for entry in plan.parsed_ranges().ranges if entry.is_held}
    kept = [{n: v for n, v in point.items() if n not in not_searched} for point in points]
    return [point for point in kept if point]


def _best_so_far(before: list[StoredStage]) -> dict[str, Any]:
    for stage in reversed(before):
        if found := _compared(stage):
            return found.chosen.params
        best = best_trial(stage.optuna_study)
        if best is not None:
            return dict(best.params)
    return {}


def _settled(before: list[StoredStage]) -> dict[str, Any]:
    """Returns what earlier stages have settled by elapsed time."""
    return {found.name: found.chosen.size for stage in before if (found := _compared(stage))}


def _compared(stage: StoredStage) -> Comparison | None:
    return compared(stage.plan, stage.optuna_study.get_trials(deepcopy=False))
