"""Pruners by name, so configured that every worker decides alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna import pruners
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from nnstudy.errors import UserError
from nnstudy.search.options import build, check_options, known_name, signature_options

PRUNERS: dict[str, str] = {
    "none": "Lets every trial run to its end",
    "median": "Stops what is worse than the median of earlier trials at the same step",
    "percentile": "Stops what is not among the best percent of earlier trials (25)",
    "threshold": "Stops what leaves a range: options lower, upper",
    "patient": "Lets another pruner (option wrapped: median) stop only what no longer improves",
    "successive-halving": "Lets the best quarter go on at each rung (ASHA)",
    "hyperband": "Successive halving with several lengths of the first rung",
}


class BestSoFarPatientPruner(pruners.PatientPruner):
    """Lets another pruner decide once a trial has not improved for ``patience`` reports.

    Optuna's waits until the values get worse than before. What trials report here is their
    best so far, which never does: it would never prune.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Tells whether the trial is to be pruned; NaN is never an improvement."""
        values = [value for _, value in sorted(trial.intermediate_values.items())]
        before, after = values[: -self._patience - 1], values[-self._patience - 1 :]
        if not before:
            return False
        sign = 1 if study.direction is StudyDirection.MINIMIZE else -1
        best_before, best_after = (
            min((sign * value for value in part if not math.isnan(value)), default=math.inf)
            for part in (before, after)
        )
        if best_after < best_before - self._min_delta:
            return False
        return self._wrapped_pruner is None or self._wrapped_pruner.prune(study, trial)


_CLASSES: dict[str, type[BasePruner]] = {
    "none": pruners.NopPruner,
    "median": pruners.MedianPruner,
    "percentile": pruners.PercentilePruner,
    "threshold": pruners.ThresholdPruner,
    "patient": BestSoFarPatientPruner,
    "successive-halving": pruners.SuccessiveHalvingPruner,
    "hyperband": pruners.HyperbandPruner,
}

_DEFAULTS: dict[str, dict[str, Any]] = {
    "percentile": {"percentile": 25.0},  # the example of Optuna's documentation
    "patient": {"patience": 3},
    # Optuna's "auto" looks at the trials that happen to be finished: two workers got 2 and
    # 5 brackets in one study.
    "successive-halving": {"min_resource": 1},
}

_WRAPPED = {"wrapped": frozenset({"str"}), "wrapped_options": frozenset({"dict"})}


@dataclass(frozen=True)
class PrunerSpec:
    """A pruner as a study remembers it.

    Attributes:
        name: One of ``PRUNERS``.
        options: Arguments of Optuna's class of that name, without its resources' maximum.
            ``patient`` also takes ``wrapped`` and ``wrapped_options``.

    Raises:
        UserError: The name or an option is unknown, or a value has the wrong type.
    """

    name: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the name and the options."""
        known_name("pruner", self.name, PRUNERS)
        check_options(f"pruner {self.name}", self.options, _allowed(self.name))
        if self.name == "patient":
            _wrapped(self.options)

    def to_dict(self) -> dict[str, Any]:
        """Returns the specification as JSON-ready values."""
        return {"name": self.name, "options": dict(self.options)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> PrunerSpec:
        """Makes the specification that ``to_dict`` gave."""
        return cls(fields["name"], fields["options"])


def make_pruner(pruner: str | PrunerSpec | BasePruner, *, steps: int) -> BasePruner:
    """Makes a pruner whose decisions depend on the stored trials alone.

    Args:
        pruner: A name of ``PRUNERS``, a specification, or a pruner of the user's own, which
            is used as it is.
        steps: The largest step that a trial of this stage can report.

    Raises:
        UserError: An option is wrong.
    """
    if isinstance(pruner, BasePruner):
        return pruner
    spec = PrunerSpec(pruner) if isinstance(pruner, str) else pruner
    options = {**_DEFAULTS.get(spec.name, {}), **spec.options}
    what = f"pruner {spec.name}"
    if spec.name == "patient":
        options = {key: value for key, value in options.items() if key not in _WRAPPED}
        options["wrapped_pruner"] = make_pruner(_wrapped(spec.options), steps=steps)
    if spec.name == "hyperband":
        return _hyperband(options, steps)
    made: BasePruner = build(what, _CLASSES[spec.name], options)
    return made


def describe_pruner(pruner: str | PrunerSpec | BasePruner) -> dict[str, Any]:
    """Returns what a study remembers: name and options, or the class of a user's own."""
    if isinstance(pruner, BasePruner):
        return {"class": f"{type(pruner).__module__}.{type(pruner).__qualname__}"}
    return (PrunerSpec(pruner) if isinstance(pruner, str) else pruner).to_dict()


def _hyperband(options: dict[str, Any], steps: int) -> BasePruner:
    least = options.get("min_resource", 1)
    if not 1 <= least <= steps:
        raise UserError(
            f"The option min_resource of the pruner hyperband must lie between 1 and the {steps}"
            f" steps of a trial, got {least}"
        )
    made: pruners.HyperbandPruner = build(
        "pruner hyperband", pruners.HyperbandPruner, {**options, "max_resource": steps}
    )
    # Until its first decision it would put every trial in bracket 0, for the sampler too, and
    # a worker that has just started would sample otherwise than the rest.
    try:
        made._try_initialization(None)  # type: ignore[arg-type]  # looks at it for "auto" only
    except (ValueError, ZeroDivisionError) as error:
        raise UserError(f"The pruner hyperband does not accept its options: {error}") from error
    return made


def _allowed(name: str) -> dict[str, frozenset[str]]:
    options = signature_options(_CLASSES[name], without=("max_resource",))
    if "min_resource" in options:
        options["min_resource"] = frozenset({"int"})  # no "auto", see _DEFAULTS
    return options | (_WRAPPED if name == "patient" else {})


def _wrapped(options: Mapping[str, Any]) -> PrunerSpec:
    return PrunerSpec(options.get("wrapped", "median"), options.get("wrapped_options", {}))
