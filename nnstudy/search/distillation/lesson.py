"""What the students of a distillation learn, and the stage that this takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial

from nnstudy.errors import UserError
from nnstudy.search.plan import Plan, new_uid
from nnstudy.search.pruners import PrunerSpec
from nnstudy.search.ranges.given import Ranges
from nnstudy.search.ranges.holding import as_asked, held
from nnstudy.search.samplers import SamplerSpec
from nnstudy.search.space import Parameter, Space
from nnstudy.search.stored import StoredStage

DISTILL = "distill"

MIX, TEMPERATURE = "distill_mix", "distill_temperature"

_HOTTEST = 10.0
_CONCLUSION = "nnstudy:distilled"


@dataclass(frozen=True)
class Lesson:
    """What students learn.

    Attributes:
        ensemble: Digest of the ensemble that teaches.
        stage: Name of the stage of the trial whose configuration they have.
        trial: Its number.
        answers: Hash of what the ensemble answers to the training examples.
    """

    ensemble: str
    stage: str
    trial: int
    answers: str = ""

    @classmethod
    def of(cls, plan: Plan) -> Lesson:
        """Returns the lesson of a stored stage of this kind."""
        return cls(**plan.lesson)

    def is_of(self, plan: Plan) -> bool:
        """Tells whether a stage is of this lesson, whatever its answers."""
        return plan.kind == "distill" and replace(Lesson.of(plan), answers=self.answers) == self


def searched_of(task: str) -> dict[str, FloatDistribution]:
    """Returns what is searched: the mix, and the temperature of classes."""
    mix = {MIX: FloatDistribution(0.0, 1.0)}
    if task != "classification":
        return mix
    return {**mix, TEMPERATURE: FloatDistribution(1.0, _HOTTEST, log=True)}


def hard_point(task: str) -> dict[str, float]:
    """Returns the point at which the labels alone are learnt, which is the first to be tried."""
    return {name: asked.low for name, asked in searched_of(task).items()}


def is_hard(trial: FrozenTrial) -> bool:
    """Tells whether a student learns from the labels alone."""
    return bool(trial.params.get(MIX) == 0)


def distillation_plan(
    stages: Sequence[StoredStage],
    source: Plan,
    trial: FrozenTrial,
    lesson: Lesson,
    *,
    trials: int,
    epochs: float | None,
) -> Plan:
    """Returns the plan of a distillation; of the one that is stored, if there is one.

    All parameters are held at those of one trial, and mix and temperature are searched, by points
    that cover their square evenly (Sobol's), as they are few.

    Args:
        stages: The study's stored stages.
        source: Plan of the trial's stage.
        trial: Whose configuration the students have.
        lesson: What they learn.
        trials: How many there are.
        epochs: How long each is trained; None: as long as the trial's stage.

    Raises:
        UserError: If the recipe has parameters that are called as those of a distillation.
    """
    task = source.data["task"]
    space = _with_branches(source.parsed_space(), trial.distributions)
    if taken := sorted(searched_of(task).keys() & space.parameters.keys()):
        raise UserError(
            f"the recipe asks for a parameter {taken[0]!r}, which is how nnstudy distill calls one"
            " of its own; rename it"
        )
    plan = replace(
        source,
        kind="distill",
        lesson=asdict(lesson),
        trials=trials,
        epochs=epochs or source.epochs,
        sampler=SamplerSpec("qmc").to_dict(),
        pruner=PrunerSpec("none").to_dict(),  # all of them are to be compared
        space=_with_searched(space, task).to_dict(),
        ranges=_held_at(space, trial, f"as in trial {trial.number} of {source.stage}").to_list(),
        is_open=True,
        seeds=1,
        only=[],
        hold={},
        scaled=[],
        relative_to={},
        around=None,
        flat_trials=None,
        max_epochs_total=None,
        extend_borders=False,
        widens=None,
        widening=0,
        run_id="",
        uid=new_uid(),
    )
    there = [stage.plan for stage in stages if stage.plan.kind == "distill"]
    for stored in there:
        if lesson.is_of(stored) and stored.epochs == plan.epochs:
            return replace(
                plan,
                stage=stored.stage,
                position=stored.position,
                trials=max(trials, stored.trials),
                lesson=stored.lesson,
                uid=stored.uid,
                run_id=stored.run_id,
                experiment_id=stored.experiment_id,
            )
    return replace(
        plan,
        stage=f"{DISTILL}-{len(there) + 1}" if there else DISTILL,
        position=max(stage.plan.position for stage in stages) + 1,
    )


def enqueue_hard(study: optuna.Study, task: str) -> None:
    """Makes the first trial of a distillation one that learns from the labels alone."""
    study.enqueue_trial(hard_point(task), skip_if_exists=True)


def conclude(study: optuna.Study, conclusion: str) -> None:
    """Keeps with a distillation what it came to, in words."""
    study.set_user_attr(_CONCLUSION, conclusion)


def conclusion_of(study: optuna.Study) -> str | None:
    """Returns what a distillation came to, in words; None while it has not come to its end."""
    found: Any = study.user_attrs.get(_CONCLUSION)
    return None if found is None else str(found)


def _with_branches(space: Space, asked: Mapping[str, BaseDistribution]) -> Space:
    """Returns a space with what the recipe asked a trial for in a branch that was never probed."""
    rare = {n: Parameter((d,), conditional=True) for n, d in asked.items()}
    return Space({**rare, **space.parameters})


def _with_searched(space: Space, task: str) -> Space:
    searched = {name: Parameter((asked,)) for name, asked in searched_of(task).items()}
    return Space({**space.parameters, **searched})


def _held_at(space: Space, trial: FrozenTrial, why: str) -> Ranges:
    ranges = held(as_asked(space), (MIX,), {}, best=trial.params, start={})
    return Ranges([replace(one, evidence=why) if one.is_held else one for one in ranges.ranges])
