"""The searches of a race: which there are, and what each of them is given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nnstudy.engines.options import LaunchOptions
from nnstudy.errors import UserError
from nnstudy.report.race import search_name
from nnstudy.search.grid import grid_axes, points_for
from nnstudy.search.plan import Plan
from nnstudy.search.pruners import PrunerSpec
from nnstudy.search.ranges.holding import provisional
from nnstudy.search.samplers import SamplerSpec
from nnstudy.search.space import Space
from nnstudy.search.stored import StoredStage
from nnstudy.study import Stage, Study

USUAL_SAMPLERS = ("random", "tpe")
USUAL_SEEDS = 5


@dataclass(frozen=True)
class Field:
    """Who races: every sampler from every seed.

    Attributes:
        samplers: Names of samplers.
        seeds: How many searches each has.
        sampler_options: Options by sampler.
    """

    samplers: tuple[str, ...]
    seeds: int
    sampler_options: Mapping[str, Mapping[str, Any]]

    def __post_init__(self) -> None:
        """Raises UserError where nothing would be compared, or a name or option is unknown."""
        for name in self.samplers:
            SamplerSpec(name, self.sampler_options.get(name, {}))
        if len(set(self.samplers)) < len(self.samplers):
            raise UserError(f"a sampler is named twice: {', '.join(self.samplers)}")
        if len(self.samplers) < 2:
            raise UserError(
                f"a race needs two samplers at least, got {', '.join(self.samplers) or 'none'}."
                " random is the yardstick: --samplers random,tpe"
            )
        if self.seeds < 2:
            raise UserError(
                f"a race needs two seeds at least, got {self.seeds}: one search of each tells"
                " luck and skill not apart"
            )
        for name in self.sampler_options:
            if name not in self.samplers:
                raise UserError(f"options are given for {name}, which does not race")


def choose_field(
    study: Study,
    stored: Sequence[StoredStage],
    samplers: Sequence[str] | None,
    seeds: int | None,
    options: Mapping[str, Mapping[str, Any]],
) -> Field:
    """Returns who races: as asked, else as stored, else as usual.

    A sampler that the study's last stage names has its options there.

    Args:
        study: The study.
        stored: The searches of the race that are stored.
        samplers: Asked for; None: no names were given.
        seeds: Asked for.
        options: Asked for, by sampler.

    Raises:
        UserError: If nothing would be compared, or a name or option is unknown.
    """
    last = study.stages[-1]
    own = {last.sampler: dict(last.sampler_options)} if isinstance(last.sampler, str) else {}
    there = list(dict.fromkeys(str(stage.plan.sampler["name"]) for stage in stored))
    chosen = tuple(there or USUAL_SAMPLERS) if samplers is None else tuple(samplers)
    own = {name: given for name, given in own.items() if name in chosen}
    if seeds is None:
        seeds = max((int(s.plan.stage.rpartition("-")[2]) + 1 for s in stored), default=USUAL_SEEDS)
    return Field(chosen, seeds, own | {name: dict(given) for name, given in options.items()})


def racing_study(
    study: Study, name: str, field: Field, stored: Sequence[StoredStage], options: LaunchOptions
) -> Study:
    """Returns the study with a stage for each search, alike but for the sampler.

    It races in the epochs, the trials and the pruner of its last stage, unless the options or
    what is stored say otherwise, and without its start, which is no sampler's merit.

    Args:
        study: The study.
        name: Of the race.
        field: Who races.
        stored: The searches that are stored.
        options: With ``trials``, ``pruner`` and ``pruner_options`` of each search.

    Raises:
        UserError: If the pruner is an object of the user's own.
    """
    last = study.stages[-1]
    pruner = _pruner(last, stored, options)
    trials = options.trials
    if trials is None:
        trials = max((s.plan.trials for s in stored), default=last.trials)
    kinds = {sampler: field.sampler_options.get(sampler, {}) for sampler in field.samplers}
    # Seed by seed, so that whatever changes on the machine meets all samplers alike.
    stages = [
        replace(
            last,
            name=search_name(sampler, seed),
            trials=trials,
            sampler=sampler,
            sampler_options=sampler_options,
            pruner=pruner.name,
            pruner_options=pruner.options,
            narrow=False,
            carry=0,
            only=(),
        )
        for seed in range(field.seeds)
        for sampler, sampler_options in kinds.items()
    ]
    return replace(study, name=name, stages=stages, start=())


def _pruner(last: Stage, stored: Sequence[StoredStage], options: LaunchOptions) -> PrunerSpec:
    if options.pruner is not None:
        return PrunerSpec(options.pruner, options.pruner_options)
    if stored:
        known = PrunerSpec.from_dict(stored[0].plan.pruner)
    elif isinstance(last.pruner, str):
        known = PrunerSpec(last.pruner, last.pruner_options)
    else:
        raise UserError(
            f"the pruner of stage {last.name!r} is an object of your own, which may remember one"
            " search in the next: name one for the race with --pruner"
        )
    return PrunerSpec(known.name, {**known.options, **options.pruner_options})


def lay_out(plan: Plan) -> Plan:
    """Returns the plan of a grid's search with points for its trials, and no more trials.

    Raises:
        UserError: If the space cannot be laid out.
    """
    space, options = _searched(plan), plan.sampler["options"]
    points = options.get("points") or points_for(space, plan.trials)
    size = math.prod(map(len, grid_axes(space, points).values()))
    return replace(
        plan,
        sampler={**plan.sampler, "options": {**options, "points": points}},
        trials=min(plan.trials, size),
    )


def describe_grid(plan: Plan, trials: int) -> str:
    """Returns the grid of a laid out plan in words.

    Args:
        plan: As ``lay_out`` gave it.
        trials: The budget of each search.
    """
    axes = grid_axes(_searched(plan), plan.sampler["options"]["points"])
    sizes = [f"{name} {len(values)}" for name, values in axes.items()]
    size = math.prod(map(len, axes.values()))
    which = "all of them" if size <= trials else f"{trials} of them"
    text = f"a grid of {' x '.join(sizes)} = {size} points; {which} in a seeded order"
    if size < trials:
        text += f". There are no more, so its searches end after {size} trials"
    return text


def _searched(plan: Plan) -> Space:
    """Returns the space without what the stage holds."""
    if not plan.is_open:
        ranges = provisional(plan.parsed_space(), plan.only, plan.hold)
        plan = replace(plan, ranges=ranges.to_list())
    return plan.searched_space()
