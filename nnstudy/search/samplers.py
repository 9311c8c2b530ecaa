"""Samplers by name, so seeded that a trial's draws do not depend on who asks."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna import samplers
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from nnstudy.errors import UserError
from nnstudy.search.grid import DECADES, ExactGridSampler, grid_axes
from nnstudy.search.options import build, check_options, known_name, signature_options
from nnstudy.search.space import Space

SAMPLERS: dict[str, str] = {
    "random": "Independent draws; the yardstick for all others",
    "tpe": "Tree-structured Parzen estimator: draws near good trials; any kind of space",
    "grid": "Every combination of steps and choices (option points: per number, or decades)",
    "qmc": "Sobol or Halton sequence: covers the space more evenly than random",
    "cmaes": "CMA-ES: moves a normal distribution; numbers only, some hundred trials",
    "gp": "Gaussian process: few and expensive trials",
}

_CLASSES: dict[str, type[BaseSampler]] = {
    "random": samplers.RandomSampler,
    "tpe": samplers.TPESampler,
    "qmc": samplers.QMCSampler,
    "cmaes": samplers.CmaEsSampler,
    "gp": samplers.GPSampler,
}

_NOT_THE_USERS = (
    "seed",
    "warn_asynchronous_seeding",
    # Deprecated in Optuna 5.
    *("consider_prior", "prior_weight", "consider_magic_clip", "consider_endpoints"),
    *("sigma0", "restart_strategy", "inc_popsize"),
)

_DEFAULTS: dict[str, dict[str, Any]] = {
    "qmc": {"scramble": True, "warn_independent_sampling": False},
    # Samplers are made anew for each trial, and so would this warning be.
    "cmaes": {"warn_independent_sampling": False},
    "gp": {"warn_independent_sampling": False},
}


@dataclass(frozen=True)
class SamplerSpec:
    """A sampler as a study remembers it.

    Attributes:
        name: One of ``SAMPLERS``.
        options: Arguments of Optuna's class of that name, without its seed. ``grid`` takes
            ``points``: a number or ``decades``, or these by parameter.

    Raises:
        UserError: The name or an option is unknown, or a value has the wrong type.
    """

    name: str = "tpe"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the name and the options."""
        known_name("sampler", self.name, SAMPLERS)
        check_options(f"sampler {self.name}", self.options, _allowed(self.name))
        points = self.options.get("points")
        if isinstance(points, str) and points != DECADES:
            raise UserError(
                f"The option points of the sampler grid must be a number or {DECADES}, or these by"
                f" parameter, got {points!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns the specification as JSON-ready values."""
        return {"name": self.name, "options": dict(self.options)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> SamplerSpec:
        """Makes the specification that ``to_dict`` gave."""
        return cls(fields["name"], fields["options"])


def make_sampler(
    sampler: str | SamplerSpec | BaseSampler,
    *,
    seed: int,
    stage: str,
    space: Space,
    hyperband: bool = False,
) -> BaseSampler:
    """Makes a sampler whose draws for a trial follow from seed, stage and trial number.

    Args:
        sampler: A name of ``SAMPLERS``, a specification, or a sampler of the user's own,
            which is used as it is.
        seed: The study's seed, not negative.
        stage: Name of the stage.
        space: The space of the stage; grid and QMC are laid out on it.
        hyperband: Whether the pruner is Hyperband, whose pruned trials CMA-ES should learn
            from (Optuna's documentation of ``consider_pruned_trials``).

    Raises:
        UserError: An option is wrong, or the space does not fit the sampler.
    """
    if isinstance(sampler, BaseSampler):
        return sampler
    spec = SamplerSpec(sampler) if isinstance(sampler, str) else sampler
    options = {**_DEFAULTS.get(spec.name, {}), **spec.options}
    if spec.name == "cmaes":
        options = {"consider_pruned_trials": hyperband, **options}
    seeds = _Seeds(seed, stage)
    made = SeededSampler(_builder(spec.name, options, seeds, space), seeds)
    made.sampler_for(0)  # so that a value is refused now, not within the first trial
    return made


def describe_sampler(sampler: str | SamplerSpec | BaseSampler) -> dict[str, Any]:
    """Returns what a study remembers: name and options, or the class of a user's own."""
    if isinstance(sampler, BaseSampler):
        return {"class": f"{type(sampler).__module__}.{type(sampler).__qualname__}"}
    return (SamplerSpec(sampler) if isinstance(sampler, str) else sampler).to_dict()


@dataclass(frozen=True)
class _Seeds:
    """Seeds derived from the study's, each below 2**32."""

    seed: int
    stage: str

    def of_stage(self) -> int:
        return self._derive()

    def of_trial(self, number: int, parameter: str | None = None) -> int:
        # A trial that is taken over may have some of its parameters already. Were they drawn
        # one after another, the rest would differ from those of an undisturbed trial.
        return self._derive(number + 1, *([] if parameter is None else [_crc(parameter)]))

    def _derive(self, *key: int) -> int:
        sequence = np.random.SeedSequence((self.seed, _crc(self.stage), *key))
        return int(sequence.generate_state(1)[0])


_Build = Callable[[int, int], BaseSampler]
"""Takes a trial's number and a seed, returns a sampler for it."""


class SeededSampler(BaseSampler):
    """Asks a fresh sampler for each trial, seeded by the trial's number.

    Args:
        build: Makes a sampler from a trial's number and a seed.
        seeds: Where the seeds come from.
    """

    def __init__(self, build: _Build, seeds: _Seeds) -> None:
        self._build = build
        self._seeds = seeds
        self._of_trials: dict[int, BaseSampler] = {}

    def __str__(self) -> str:
        return str(self.sampler_for(0))

    def sampler_for(self, number: int, parameter: str | None = None) -> BaseSampler:
        """Makes the sampler for a trial, or for one parameter that is drawn by itself."""
        return self._build(number, self._seeds.of_trial(number, parameter))

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Makes the trial's sampler."""
        self._of_trials[trial.number] = self.sampler_for(trial.number)
        self._of_trials[trial.number].before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Asks the trial's sampler."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Asks the trial's sampler."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Asks a sampler that is seeded for this parameter of the trial."""
        return self.sampler_for(trial.number, param_name).sample_independent(
            study, trial, param_name, param_distribution
        )

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Tells the trial's sampler and drops it."""
        self._of(trial).after_trial(study, trial, state, values)
        self._of_trials.pop(trial.number, None)

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        # Somebody else may have made the trial, by enqueueing it already finished, say.
        return self._of_trials.get(trial.number) or self.sampler_for(trial.number)


class _NumberedQMCSampler(samplers.QMCSampler):
    """Takes the n-th point of the sequence for the n-th trial, over the probed space.

    Optuna's own counts calls in the storage, with gaps and repetitions among several
    workers, and draws the first trial independently because it does not know the space.
    """

    def __init__(self, number: int, space: dict[str, BaseDistribution], **options: Any) -> None:
        super().__init__(**options)
        self._number = number
        self._space = space

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._space

    def _find_sample_id(
        self, study: optuna.Study, search_space: dict[str, BaseDistribution]
    ) -> int:
        return self._number


def _builder(name: str, options: dict[str, Any], seeds: _Seeds, space: Space) -> _Build:
    what = f"sampler {name}"
    if name == "grid":
        axes = grid_axes(space, options.get("points"))
        return lambda _, seed: ExactGridSampler(axes, seed=seeds.of_stage(), trial_seed=seed)
    if name == "qmc":
        fixed = {**options, "seed": seeds.of_stage(), "space": _one_range_each(space)}
        return lambda number, seed: build(
            what,
            _NumberedQMCSampler,
            {**fixed, "number": number, "independent_sampler": samplers.RandomSampler(seed)},
        )
    if name == "cmaes" and len(_one_range_each(space).keys() & set(space.numeric)) == 0:
        raise UserError(
            "The sampler cmaes moves numbers only, and this space has none. Use tpe or random"
        )
    return lambda _, seed: build(what, _CLASSES[name], {**options, "seed": seed})


def _one_range_each(space: Space) -> dict[str, BaseDistribution]:
    """The parameters with one range, sorted: the order in a recipe must not matter."""
    return {
        name: parameter.distributions[0]
        for name, parameter in sorted(space.parameters.items())
        if len(parameter.distributions) == 1 and not parameter.distributions[0].single()
    }


def _allowed(name: str) -> dict[str, frozenset[str]]:
    if name == "grid":
        return {"points": frozenset({"int", "str", "dict"})}
    return signature_options(_CLASSES[name], without=_NOT_THE_USERS)


def _crc(text: str) -> int:
    return zlib.crc32(text.encode())
