"""A stage: one pass of the search with its own budget, sampler and pruner."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nnstudy.errors import UserError
from nnstudy.study.names import validate_name


@dataclass(frozen=True)
class Stage:
    """One pass of coarse to fine. Each stage is an Optuna study of its own.

    Attributes:
        name: Part of the Optuna study's name, ``<study>/<stage>``.
        trials: Finished trials that the stage ends with, whatever their state.
        epochs: Largest number of epochs of a trial; may be a fraction.
        sampler: Name of a sampler (random, tpe, grid, qmc, cmaes, gp) or an Optuna sampler.
        pruner: Name of a pruner (none, median, percentile, threshold, patient,
            successive-halving, hyperband) or an Optuna pruner.
        sampler_options: Keyword arguments of the named sampler.
        pruner_options: Keyword arguments of the named pruner.
        flat_trials: The stage ends when the best value has not improved over so many finished
            trials; None: it does not.
        data_share: Share of the training examples that is trained on.
        seeds: How many seeds each trial is trained with; it is judged by the mean.
        narrow: Whether ranges are narrowed to where the stage before found its best; else they
            are those that the recipe asks for.
        carry: How many of the best of the stage before are tried first.
        only: Parameters to search; all others are held at the best so far, or where there is
            none yet, at the study's start values. Empty: all are searched.
        hold: Values of parameters that are held, whatever was best so far; they may lie outside
            of the asked range (a weight decay of 0).
        scaled: Parameters, learning rates as a rule, that belong to the one parameter in ``only``,
            the size of the minibatch. Each size is then trained twice, with these as they are and
            in proportion to it (linear scaling rule: Goyal and others 2017, section 2.1), and the
            size that improves the score fastest by elapsed time is held in later stages. Such
            a stage has as many trials as that makes, no pruner and no sampler.
        around: Search numbers on a log scale between the best so far divided and multiplied by
            this factor, in place of narrowing by evidence. None: do not.
    """

    name: str = "search"
    trials: int = 20
    epochs: float = 10
    sampler: str | Any = "tpe"
    pruner: str | Any = "median"
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    pruner_options: Mapping[str, Any] = field(default_factory=dict)
    flat_trials: int | None = None
    data_share: float = 1.0
    seeds: int = 1
    narrow: bool = True
    carry: int = 3
    only: Sequence[str] = ()
    hold: Mapping[str, Any] = field(default_factory=dict)
    scaled: Sequence[str] = ()
    around: float | None = None

    def __post_init__(self) -> None:
        """Raises UserError where a value cannot be meant."""
        validate_name(self.name, "stage")
        if self.trials < 1:
            raise UserError(f"Stage {self.name!r}: trials must be at least 1, got {self.trials}")
        for kind in ("sampler", "pruner"):
            if getattr(self, f"{kind}_options") and not isinstance(getattr(self, kind), str):
                raise UserError(
                    f"Stage {self.name!r}: {kind}_options belong to a {kind} by name; this one is"
                    f" an object, which has its options already"
                )
        if self.epochs <= 0:
            raise UserError(f"Stage {self.name!r}: epochs must be above 0, got {self.epochs}")
        if not 0 < self.data_share <= 1:
            raise UserError(
                f"Stage {self.name!r}: data_share must be above 0 and at most 1, got"
                f" {self.data_share}"
            )
        if self.flat_trials is not None and self.flat_trials < 1:
            raise UserError(
                f"Stage {self.name!r}: flat_trials must be at least 1, got {self.flat_trials}"
            )
        if self.seeds < 1:
            raise UserError(f"Stage {self.name!r}: seeds must be at least 1, got {self.seeds}")
        if self.carry < 0:
            raise UserError(f"Stage {self.name!r}: carry must not be negative, got {self.carry}")
        if self.around is not None and self.around <= 1:
            raise UserError(
                f"Stage {self.name!r}: around is a factor above 1, such as 10, got {self.around}"
            )
        for kind in ("only", "scaled"):
            if isinstance(name := getattr(self, kind), str):
                raise UserError(f"Stage {self.name!r}: {kind} must be a list: {kind}=[{name!r}]")
        if self.scaled and (len(self.only) != 1 or self.only[0] in self.scaled):
            raise UserError(
                f"Stage {self.name!r}: what is scaled is scaled with the one parameter in only:"
                f" only=['batch_size'], scaled={list(self.scaled)}"
            )
        if both := sorted(set(self.only) & set(self.hold)):
            raise UserError(
                f"Stage {self.name!r}: {', '.join(both)} cannot be searched and held at once"
            )


_NAMES = {1: ("search",), 2: ("coarse", "fine"), 3: ("coarse", "medium", "fine")}
_SHAPE = re.compile(r"(\d+)x(\d+(?:\.\d*)?|\.\d+)")


def coarse_to_fine(
    count: int = 3, *, trials: int = 40, epochs: float = 30, like: Stage | None = None
) -> tuple[Stage, ...]:
    """Returns stages of ever fewer and ever longer trials.

    The first draws at random, in one epoch or less; each has half the trials of the one before.
    (CS231n, "Hyperparameter optimization": one epoch or less, then five, then many.)

    Args:
        count: How many.
        trials: Of all stages together.
        epochs: Of a trial of the last stage.
        like: The last stage's sampler, pruner and other fields.

    Raises:
        UserError: If there are fewer trials than stages.
    """
    if count < 1 or trials < count:
        raise UserError(f"{trials} trials do not make {count} stages of at least one trial each")
    like = like or Stage()
    first = min(1.0, epochs)
    lengths = [first * (epochs / first) ** (i / max(1, count - 1)) for i in range(count - 1)]
    weights = [2.0 ** (count - 1 - i) for i in range(count)]
    shares = [max(1, int(trials * weight / sum(weights))) for weight in weights]
    shares[0] += trials - sum(shares)
    return _named(like, [*zip(shares, [*map(rounded_epochs, lengths), epochs], strict=True)])


def parse_stages(text: str, stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Returns the stages that a command line names.

    Args:
        text: A number of stages, which share the study's trials and end with its longest
            training; or the trials and epochs of each, such as ``20x1,10x5,5x30``.
        stages: The study's own; the last one's sampler and pruner are taken over.

    Raises:
        UserError: If the text is neither.
    """
    like = stages[-1]
    if text.isdecimal():
        longest = max(stage.epochs for stage in stages)
        trials = sum(stage.trials for stage in stages)
        return coarse_to_fine(int(text), trials=trials, epochs=longest, like=like)
    shapes = [_SHAPE.fullmatch(part.strip()) for part in text.split(",")]
    found = [(int(shape[1]), float(shape[2])) for shape in shapes if shape]
    if len(found) < len(shapes):
        raise UserError(
            f"--stages {text} is neither a number of stages nor trials x epochs of each, such as"
            " 20x1,10x5,5x30"
        )
    return _named(like, found)


def rounded_epochs(epochs: float) -> float:
    """Returns a whole number of epochs, or below one a fraction of three digits."""
    return float(round(epochs)) if epochs >= 1 else float(f"{epochs:.3g}")


def _named(like: Stage, shapes: Sequence[tuple[int, float]]) -> tuple[Stage, ...]:
    count = len(shapes)
    names = _NAMES.get(count) or [f"stage-{i + 1}" for i in range(count)]
    stages = [
        replace(like, name=name, trials=trials, epochs=epochs)
        for name, (trials, epochs) in zip(names, shapes, strict=True)
    ]
    if count > 1:
        # The last one is to be exact, the others only to find where to look.
        stages[:-1] = [replace(stage, seeds=1) for stage in stages[:-1]]
        # Nothing is known yet, and nothing can be pruned in an epoch.
        stages[0] = replace(
            stages[0], sampler="random", sampler_options={}, pruner="none", pruner_options={}
        )
    return tuple(stages)
