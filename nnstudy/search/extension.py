"""Going on in wider ranges, in a stage of its own, where a stage's best lie on the border."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from nnstudy.errors import UserError
from nnstudy.search import requests
from nnstudy.search.grid import grid_size
from nnstudy.search.locks import study_lock
from nnstudy.search.plan import Plan
from nnstudy.search.ranges.borders import Border
from nnstudy.search.ranges.extending import extended
from nnstudy.search.ranges.given import Ranges
from nnstudy.search.ranges.holding import as_asked
from nnstudy.search.results import borders_of
from nnstudy.search.stage_budget import epochs_committed
from nnstudy.search.stage_opening import best_points
from nnstudy.search.stored import StoredStage, load_stage, require_stages
from nnstudy.search.tracked import open_stage_run, track_data
from nnstudy.study.sources import hash_of_files
from nnstudy.tracking import Tracker

MOST_WIDENINGS = 3
"""How often a stage's ranges are widened, so that a score that grows for ever ends a search."""


@dataclass(frozen=True)
class Extension:
    """A stage that goes on beyond the borders of the one before.

    Attributes:
        plan: Of the stage.
        borders: The edges that were crowded.
    """

    plan: Plan
    borders: list[Border]

    def __str__(self) -> str:
        ranges = self.plan.parsed_ranges().ranges
        names = {border.parameter for border in self.borders}
        crowded = "; ".join(f"{border.parameter}: {border.finding}" for border in self.borders)
        searched = ", ".join(str(entry) for entry in ranges if entry.name in names)
        return (
            f"on the border: {crowded}. Stage {self.plan.stage} searches {searched} in"
            f" {self.plan.trials} more trials"
        )


def wider_name(stage: str, widening: int) -> str:
    """Returns the name of the stage in which a stage's ranges are widened for the n-th time."""
    return f"{stage}-wider" if widening == 1 else f"{stage}-wider-{widening}"


def wider_plan(declared: Plan, widening: int, ranges: Ranges, *, run_id: str = "") -> Plan:
    """Returns the plan of a stage in wider ranges: in all else it is the stage it goes on with.

    Args:
        declared: Plan of the stage of the study.
        widening: How many times its ranges have been widened with this one.
        ranges: What is searched.
        run_id: MLflow run of the wider stage, where it has one.
    """
    plan = replace(
        declared,
        stage=wider_name(declared.stage, widening),
        widens=declared.stage,
        widening=widening,
        ranges=ranges.to_list(),
        is_open=True,
        run_id=run_id,
    )
    if plan.sampler.get("name") == "grid":
        size = grid_size(plan.searched_space(), plan.sampler["options"].get("points"))
        plan = plan.with_trials(min(plan.trials, size))
    return plan


def extend(storage: RDBStorage, tracker: Tracker, ended: Plan) -> Extension | None:
    """Stores a stage in wider ranges behind one that has come to its end, where that is due.

    Whichever worker comes to it first does, under the study's lock; the others find it stored.

    Args:
        storage: Optuna's storage.
        tracker: MLflow.
        ended: The stage.

    Returns:
        None where nothing is to be widened, or another worker was quicker.

    Raises:
        TrackingAway: MLflow cannot be reached.
    """
    with study_lock(storage, ended.study):
        stages = require_stages(storage, ended.study)
        borders = crowded(stages, ended.stage)
        if not borders:
            return None
        by_name = {stage.plan.stage: stage for stage in stages}
        last = by_name[ended.stage]
        ranges = (
            last.plan.parsed_ranges() if last.plan.ranges else as_asked(last.plan.parsed_space())
        )
        ranges = extended(ranges, borders, last.plan.parsed_limits())
        plan = wider_plan(by_name[last.plan.declared].plan, last.plan.widening + 1, ranges)
        plan = _tracked(tracker, plan, last.plan)
        made = load_stage(storage, plan.name) or optuna.create_study(
            study_name=plan.name, storage=storage, direction=plan.direction
        )
        for point in best_points(plan, last):
            requests.enqueue(made, point, once=True)
        # Last, so that after a crash in between all of it is done again.
        plan.save(made)
        return Extension(plan, borders)


def crowded(stages: Sequence[StoredStage], name: str) -> list[Border]:
    """Returns the edges beyond which the search is to go on when a stage has ended.

    None where that is not asked for or cannot be, and where the stage was asked to stop.

    Args:
        stages: The study's stored stages.
        name: Of the stage.
    """
    stage = next(stage for stage in stages if stage.plan.stage == name)
    if not stage.plan.extend_borders or requests.is_study_stopped(stage.optuna_study):
        return []
    if not can_extend(stages, stage.plan):
        return []
    return borders_of(stage.plan, stage.optuna_study.get_trials(deepcopy=False))


def can_extend(stages: Sequence[StoredStage], plan: Plan) -> bool:
    """Tells whether a stage could be gone on with, were it asked for and some edge crowded.

    Not where it was done so often that it leads nowhere, where a later stage has been opened, and
    where the study's epochs are spent; a confirmation, a race and sizes that are compared by time are no search to go on with.

    Args:
        stages: The study's stored stages.
        plan: The stage.
    """
    if plan.kind != "search" or plan.race or plan.scaled or plan.widening >= MOST_WIDENINGS:
        return False
    searched = [stage for stage in stages if stage.plan.kind == "search"]
    if any(stage.plan.is_open for stage in searched if stage.plan.order > plan.order):
        return False
    return _has_epochs_left(plan, searched)


def follower(stages: Sequence[StoredStage], plan: Plan) -> str | None:
    """Returns the name of the stage that goes on with a stage in wider ranges, or None."""
    wanted = plan.declared, plan.widening + 1
    found = (s.plan.stage for s in stages if (s.plan.declared, s.plan.widening) == wanted)
    return next(found, None)


def with_wider(declared: Plan, stages: Sequence[StoredStage]) -> Iterator[Plan]:
    """Yields a stage's plan, and those of the stages that go on with it and are stored.

    Args:
        declared: The plan, with what a launch changes of it.
        stages: The study's stored stages.
    """
    yield declared
    for stored in stages:
        plan = stored.plan
        if plan.widens == declared.stage:
            yield wider_plan(declared, plan.widening, plan.parsed_ranges(), run_id=plan.run_id)


def most_more_trials(plans: Sequence[Plan]) -> int:
    """Returns how many trials may come on top of those that are planned, at most."""
    last = list({plan.declared: plan for plan in plans}.values())
    return sum(
        plan.trials * (MOST_WIDENINGS - plan.widening)
        for place, plan in enumerate(last)
        if plan.extend_borders
        and not plan.scaled
        and not any(later.is_open for later in last[place + 1 :])
    )


def refuse_taken_names(plans: Sequence[Plan]) -> None:
    """Raises UserError where a stage of a study has the name that another one's wider stage has."""
    names = {plan.stage for plan in plans if plan.widens is None}
    for stage in sorted(names):
        for widening in range(1, MOST_WIDENINGS + 1):
            if (taken := wider_name(stage, widening)) in names:
                raise UserError(
                    f"stage {stage!r} would be gone on with in a stage {taken!r}, which the study"
                    " has already: give that another name, or launch without --extend-borders"
                )


def _has_epochs_left(plan: Plan, searched: Sequence[StoredStage]) -> bool:
    """Tells whether the epochs of the whole study have room for one more trial."""
    if plan.max_epochs_total is None:
        return True
    return epochs_committed(searched) + plan.epochs_reserved <= plan.max_epochs_total


def _tracked(tracker: Tracker, plan: Plan, last: Plan) -> Plan:
    """Makes the stage's MLflow run, with the code that the stage before it has."""
    note = f"Stage **{plan.stage}** of study **{plan.study}**, which goes on with **{last.stage}**."
    run = open_stage_run(tracker, plan, note=note)
    track_data(tracker, run.run_id, plan.data)
    if plan.sources:
        before = tracker.run(last.run_id)
        version = hash_of_files(plan.sources)
        with tempfile.TemporaryDirectory() as directory:
            # As it is now, where it was changed on the way.
            for folder in (f"code-{version[:8]}", "code"):
                if code := before.download(folder, Path(directory)):
                    run.log_artifacts(code, "code")
                    break
            if listing := before.download(f"{folder}.json", Path(directory)):
                run.log_text(listing.read_text(), "code.json")
        run.set_tags({"nnstudy.sources": version})
        run.flush()
    return replace(plan, run_id=run.run_id)
