"""A stage: one pass of the search with its own budget, sampler and pruner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """

    name: str = "search"
    trials: int = 20
    epochs: float = 10
    sampler: str | Any = "tpe"
    pruner: str | Any = "median"
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    pruner_options: Mapping[str, Any] = field(default_factory=dict)

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
