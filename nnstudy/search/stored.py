"""Stored studies: found again, made, and compared with what is to be launched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from nnstudy.errors import UserError
from nnstudy.search.plan import Plan, is_planned
from nnstudy.search.pruners import PrunerSpec, make_pruner
from nnstudy.search.samplers import SamplerSpec, make_sampler
from nnstudy.study import Stage, Study
from nnstudy.study.quiet_optuna import quiet_optuna
from nnstudy.training import progress


@dataclass(frozen=True)
class StoredStage:
    """A stage as it is stored.

    Attributes:
        plan: What it was made with.
        optuna_study: Its Optuna study, without sampler and pruner.
    """

    plan: Plan
    optuna_study: optuna.Study


def load_stage(storage: RDBStorage, name: str) -> optuna.Study | None:
    """Returns the Optuna study of a name, or None."""
    try:
        return _quietly_load(storage, name)
    except KeyError:
        return None


def is_begun(study: optuna.Study) -> bool:
    """Tells whether an Optuna study is more than what a crash left while it was stored."""
    trials = study.get_trials(deepcopy=False)
    return bool(study.user_attrs) or any(t.state is not TrialState.WAITING for t in trials)


def stored_stages(storage: RDBStorage, study: str | None = None) -> list[StoredStage]:
    """Returns the stored stages of a study, or of all, in their order."""
    stages = [
        StoredStage(Plan.of(found), found)
        for summary in optuna.get_all_study_summaries(storage, include_best_trial=False)
        if is_planned(summary.user_attrs)
        for found in [_quietly_load(storage, summary.study_name)]
    ]
    wanted = [stage for stage in stages if study in (None, stage.plan.study)]
    return sorted(wanted, key=lambda stage: (stage.plan.study, stage.plan.order))


def require_stages(storage: RDBStorage, study: str) -> list[StoredStage]:
    """Returns the stored stages of a study.

    Raises:
        UserError: If there are none; names those that are stored.
    """
    stages = stored_stages(storage, study)
    if not stages:
        names = sorted({stage.plan.study for stage in stored_stages(storage)})
        raise UserError(
            f"no study {study!r} is stored here; stored are: {', '.join(names) or 'none'}."
            " Launch it first, or point --storage at its database"
        )
    return stages


def refuse_race(stages: Sequence[StoredStage]) -> None:
    """Raises UserError if what is stored are the searches of a race."""
    if stages and stages[0].plan.race:
        name = stages[0].plan.study
        raise UserError(
            f"{name!r} is a race, whose searches must be equal, so that it can only be gone on with"
            f" as a race: nnstudy race {stages[0].plan.reference} --name {name}"
        )


def search_parts(plan: Plan, stage: Stage, validations: int) -> tuple[BaseSampler, BasePruner]:
    """Makes the sampler and the pruner that a stage remembers.

    Args:
        plan: The stage as stored.
        stage: The stage of the study file, for samplers and pruners that are objects.
        validations: Largest step that a trial can report.

    Raises:
        UserError: If an option is wrong.
    """
    pruner = make_pruner(
        stage.pruner if "class" in plan.pruner else PrunerSpec.from_dict(plan.pruner),
        steps=validations,
    )
    sampler = make_sampler(
        stage.sampler if "class" in plan.sampler else SamplerSpec.from_dict(plan.sampler),
        seed=plan.seed,
        stage=plan.stage,
        space=plan.searched_space(),
        hyperband=isinstance(pruner, HyperbandPruner),
    )
    return sampler, pruner


def validations(plan: Plan, examples: int) -> int:
    """Returns the largest step that a trial of a stage can report.

    It does not depend on the trial, or pruners of several workers would disagree; a recipe
    with fewer epochs of its own just ends earlier. A trial that is trained several times reports
    after each of its trainings.
    """
    if plan.repeats > 1:
        return plan.repeats
    return progress.Budget.of(examples, 1, plan.epochs, plan.validate_every).validations


def differences(stored: Plan, now: Plan) -> list[str]:
    """Returns what makes a stored stage another search than the one to be launched, in words.

    Trials under different conditions must not be compared, so these things may not change.
    """
    changes = [
        f"{what}: was {before}, is now {after}"
        for what, before, after in (
            ("metric", stored.metric, now.metric),
            ("direction", stored.direction, now.direction),
            ("epochs", stored.epochs, now.epochs),
            ("seed", stored.seed, now.seed),
            ("precision", stored.precision, now.precision),
            ("deterministic", stored.deterministic, now.deterministic),
            ("examples between validations", stored.validate_every, now.validate_every),
            ("split", stored.split, now.split),
            ("subset", stored.subset, now.subset),
            *(_of_a_race(stored, now) if now.race else ()),
            ("share of the training examples", stored.data_share, now.data_share),
            ("folds", stored.folds, now.folds),
            ("seeds of each trial", stored.seeds, now.seeds),
            ("parameters searched alone", stored.only, now.only),
            ("values held", stored.hold, now.hold),
            ("parameters scaled", stored.scaled, now.scaled),
        )
        if before != after
    ]
    if not changes and stored.data["digest"] != now.data["digest"]:
        changes.append("data: the examples are not the same as before")
    return changes + stored.parsed_space().differences(now.parsed_space())


def _of_a_race(stored: Plan, now: Plan) -> Iterator[tuple[str, Any, Any]]:
    """Yields what one search may change on its way, but the searches of a race may not."""
    yield "trials", stored.trials, now.trials
    yield "sampler", stored.sampler, now.sampler
    yield "pruner", stored.pruner, now.pruner


def refuse_differences(study: Study, stored: Plan, now: Plan) -> None:
    """Raises UserError if a stored stage is another search than the one to be launched."""
    changes = differences(stored, now)
    if changes:
        listed = "\n".join(f"  {change}" for change in changes)
        raise UserError(
            f"the stored study {stored.name!r} differs from the one to be launched:\n{listed}\n"
            "Its trials could not be compared. Put that back, or search under another name:"
            f" nnstudy {'race' if now.race else 'launch'} {stored.reference} --name {study.name}-2"
        )


def _quietly_load(storage: RDBStorage, name: str) -> optuna.Study:
    with quiet_optuna():
        return optuna.load_study(study_name=name, storage=storage)
