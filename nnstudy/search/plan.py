"""What a stage's Optuna study was made with, kept in it."""

from __future__ import annotations

import math
import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import optuna

from nnstudy.errors import UserError
from nnstudy.search.ranges.given import Ranges
from nnstudy.search.space import Space
from nnstudy.study import Direction
from nnstudy.study.building import Conditions
from nnstudy.study.limits import Limit
from nnstudy.training.devices import Precision

Kind = Literal["search", "confirm", "distill"]

PLAN_VERSION = 1
_ATTRIBUTE = "nnstudy"


def new_uid() -> str:
    """Returns what tells a stored stage from all others."""
    return secrets.token_hex(3)


@dataclass(frozen=True)
class Plan:
    """All that a worker must know of a stage besides the study file.

    Attributes:
        study: Name of the study.
        stage: Name of the stage.
        position: Place of the stage among the study's stages, from 0.
        reference: How the study was named at launch: a name or a path.
        trials: Finished trials that the stage ends with.
        epochs: Largest number of epochs of a trial.
        sampler: Name and options of the sampler.
        pruner: Name and options of the pruner.
        seed: The study's seed.
        metric: Key of the records that is optimised.
        direction: ``minimize`` or ``maximize``.
        validate_every: Training examples between two validations, or None.
        split: Fields of the data's ``Split``.
        subset: Fields of the data's ``Subset``.
        data: Name, digest and sizes of the data.
        space: What the recipe asks for.
        sources: Hash of each source file, by its relative path.
        experiment_id: MLflow experiment of the study.
        run_id: MLflow run of the stage.
        deterministic: Whether only deterministic algorithms are used.
        precision: ``float32`` or ``mixed``.
        max_epochs_total: Epochs that all trials of the study may train together; None: any
            number.
        flat_trials: Finished trials without an improvement after which the stage ends; None: it
            goes on.
        limits: The study's, by parameter, each a list of two.
        data_share: Share of the training examples that is trained on.
        narrow: Whether the ranges are narrowed to where the stage before found its best.
        carry: How many of the best of the stage before are tried first.
        folds: With how many folds a trial is cross-validated; 1: it has the one validation part.
        seeds: How many seeds each trial is trained with.
        only: Parameters that are searched, all others being held; empty: all.
        hold: Values of parameters that are held, whatever was best so far.
        scaled: Parameters that are tried in proportion to the one in ``only``, as it is compared
            by time; empty: nothing is.
        relative_to: The size, and the values of ``scaled``, that the others are relative to, once
            the stage is open.
        around: Factor around the best so far within which numbers on a log scale are searched.
        ranges: What is searched instead of what the recipe asks for, once the stage is open.
        is_open: Whether ranges and first points are settled, as they are when the stage before
            has ended.
        options: Options of the first launch that later ones need not repeat.
        race: Whether the stage is one search of a race, whose budgets are equal, and not a
            pass of one search.
        kind: ``search``; ``confirm`` where the best trials of another stage are trained again;
            ``distill`` where an ensemble is learnt by one network.
        lesson: Of a distillation, see ``Lesson``; else empty.
        extend_borders: Whether the search goes on in wider ranges where good values crowd an edge
            when the stage has ended.
        widens: The stage of the study whose ranges this one has widened; None: it is a stage of
            the study itself.
        widening: How many times ranges of that stage have been widened by now.
        uid: Tells this stored stage from an earlier one of the same name whose database
            was thrown away while its runs and checkpoints were not.
    """

    study: str
    stage: str
    position: int
    reference: str
    trials: int
    epochs: float
    sampler: dict[str, Any]
    pruner: dict[str, Any]
    seed: int
    metric: str
    direction: Direction
    validate_every: int | None
    split: dict[str, Any]
    subset: dict[str, Any]
    data: dict[str, Any]
    space: dict[str, Any]
    sources: dict[str, str] = field(default_factory=dict)
    experiment_id: str = ""
    run_id: str = ""
    deterministic: bool = False
    precision: Precision = "float32"
    max_epochs_total: float | None = None
    flat_trials: int | None = None
    limits: dict[str, list[float | None]] = field(default_factory=dict)
    data_share: float = 1.0
    narrow: bool = True
    carry: int = 3
    folds: int = 1
    seeds: int = 1
    only: list[str] = field(default_factory=list)
    hold: dict[str, Any] = field(default_factory=dict)
    scaled: list[str] = field(default_factory=list)
    relative_to: dict[str, Any] = field(default_factory=dict)
    around: float | None = None
    ranges: list[dict[str, Any]] = field(default_factory=list)
    is_open: bool = True  # as those were that have been stored without it
    options: dict[str, Any] = field(default_factory=dict)
    race: bool = False
    kind: Kind = "search"
    lesson: dict[str, Any] = field(default_factory=dict)
    extend_borders: bool = False
    widens: str | None = None
    widening: int = 0
    uid: str = field(default_factory=new_uid)
    version: int = PLAN_VERSION

    @property
    def name(self) -> str:
        """Name of the stage's Optuna study."""
        return f"{self.study}/{self.stage}"

    @property
    def key(self) -> str:
        """What tells the stage's runs in MLflow from all others."""
        return f"{self.study}/{self.stage}/{self.uid}"

    @property
    def declared(self) -> str:
        """Name of the stage of the study that this one is, or goes on with."""
        return self.widens or self.stage

    @property
    def order(self) -> tuple[int, int]:
        """What the stages of a study are sorted by."""
        return self.position, self.widening

    def checkpoints(self, root: Path) -> Path:
        """Returns the directory of the stage's checkpoints."""
        return root / self.study / f"{self.stage}-{self.uid}"

    @property
    def repeats(self) -> int:
        """How often each trial is trained, by folds or by seeds."""
        return max(self.folds, self.seeds)

    @property
    def repeat_kind(self) -> str:
        """What a trial's trainings differ in: ``fold`` or ``seed``."""
        return "fold" if self.folds > 1 else "seed"

    @property
    def epochs_reserved(self) -> int:
        """Epochs that a running trial may still turn out to have trained.

        A fraction of an epoch ends with a whole minibatch, which may be all of the epoch.
        """
        return math.ceil(self.epochs) * self.repeats

    def conditions(self, device: str) -> Conditions:
        """Returns what all trials have in common, on a device."""
        return Conditions(
            self.epochs,
            self.metric,
            self.direction,
            self.validate_every,
            self.precision,
            device,
            is_budgeted=self.max_epochs_total is not None,
        )

    def parsed_space(self) -> Space:
        """Returns what the recipe asks for."""
        return Space.from_dict(self.space)

    def parsed_ranges(self) -> Ranges:
        """Returns what is searched instead of some of it."""
        return Ranges.from_list(self.ranges)

    def searched_space(self) -> Space:
        """Returns what the stage searches."""
        return self.parsed_ranges().of(self.parsed_space())

    def parsed_limits(self) -> dict[str, Limit]:
        """Returns what ranges may never go beyond."""
        return {name: (least, most) for name, (least, most) in self.limits.items()}

    def save(self, study: optuna.Study) -> None:
        """Keeps the plan in the stage's Optuna study."""
        study.set_user_attr(_ATTRIBUTE, asdict(self))

    @classmethod
    def of(cls, study: optuna.Study) -> Plan:
        """Returns the plan kept in a stage's Optuna study.

        Raises:
            UserError: If it was made by something else, or by a newer version.
        """
        fields = study.user_attrs.get(_ATTRIBUTE)
        if fields is None:
            raise UserError(
                f"the Optuna study {study.study_name!r} was not made by nnstudy; give your"
                " study another name"
            )
        if fields["version"] > PLAN_VERSION:
            raise UserError(
                f"the stored study {study.study_name!r} was made by a newer nnstudy; upgrade"
            )
        return cls(**fields)

    def with_trials(self, trials: int) -> Plan:
        """Returns the plan with another number of trials."""
        return replace(self, trials=trials)


def is_planned(attributes: dict[str, Any]) -> bool:
    """Tells from an Optuna study's attributes whether the study is one of ours."""
    return _ATTRIBUTE in attributes
