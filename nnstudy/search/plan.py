"""What a stage's Optuna study was made with, kept in it."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna

from nnstudy.errors import UserError
from nnstudy.search.space import Space
from nnstudy.study import Direction
from nnstudy.study.building import Conditions
from nnstudy.training.devices import Precision

PLAN_VERSION = 1
_ATTRIBUTE = "nnstudy"


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
        options: Options of the first launch that later ones need not repeat.
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
    options: dict[str, Any] = field(default_factory=dict)
    uid: str = field(default_factory=lambda: secrets.token_hex(3))
    version: int = PLAN_VERSION

    @property
    def name(self) -> str:
        """Name of the stage's Optuna study."""
        return f"{self.study}/{self.stage}"

    @property
    def key(self) -> str:
        """What tells the stage's runs in MLflow from all others."""
        return f"{self.study}/{self.stage}/{self.uid}"

    def checkpoints(self, root: Path) -> Path:
        """Returns the directory of the stage's checkpoints."""
        return root / self.study / f"{self.stage}-{self.uid}"

    def conditions(self, device: str) -> Conditions:
        """Returns what all trials have in common, on a device."""
        return Conditions(
            self.epochs, self.metric, self.direction, self.validate_every, self.precision, device
        )

    def parsed_space(self) -> Space:
        """Returns what the recipe asks for."""
        return Space.from_dict(self.space)

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
