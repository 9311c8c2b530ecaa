"""The search space of a recipe, found by asking it."""

from __future__ import annotations

import hashlib
import json
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from nnstudy.errors import UserError
from nnstudy.search.distributions import contains, describe, key, values_of
from nnstudy.study.quiet_optuna import quiet_optuna

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Parameter:
    """What a recipe asks for under one name.

    Attributes:
        distributions: The ranges or choices asked for, in the order they were first seen;
            several where branches of the recipe ask differently.
        conditional: True if only some trials ask for it.
    """

    distributions: tuple[BaseDistribution, ...]
    conditional: bool = False

    def contains(self, value: Any) -> bool:
        """Tells whether a value lies in one of the ranges."""
        return any(contains(distribution, value) for distribution in self.distributions)

    def __str__(self) -> str:
        return " or ".join(map(describe, self.distributions))


@dataclass(frozen=True)
class Failure:
    """A probe at which the recipe raised.

    Attributes:
        params: The parameters it had been given by then.
        error: What it raised.
    """

    params: Mapping[str, Any]
    error: Exception


@dataclass(frozen=True)
class Space:
    """The parameters a recipe asks for.

    Attributes:
        parameters: By name, in the order they were first asked for.
        failures: The probes at which the recipe raised; no part of what is stored.
    """

    parameters: Mapping[str, Parameter]
    failures: Sequence[Failure] = field(default=(), compare=False)

    @property
    def numeric(self) -> list[str]:
        """The names of numbers, real and whole."""
        return [name for name in self.parameters if name not in self.categorical]

    @property
    def categorical(self) -> list[str]:
        """The names of choices."""
        return self._where(lambda asked: isinstance(asked, CategoricalDistribution))

    @property
    def log_scaled(self) -> list[str]:
        """The names of numbers searched on a log scale."""
        return self._where(lambda asked: getattr(asked, "log", False))

    @property
    def conditional(self) -> list[str]:
        """The names that only some trials ask for."""
        return [name for name, parameter in self.parameters.items() if parameter.conditional]

    @property
    def hash(self) -> str:
        """A hash of the space that does not depend on the order of the parameters."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, now: Space) -> list[str]:
        """Returns what has changed from this space to another one, in plain words."""
        changes = []
        for name, parameter in now.parameters.items():
            before = self.parameters.get(name)
            if before is None:
                changes.append(f"{name}: new, {parameter}")
            elif set(map(key, before.distributions)) != set(map(key, parameter.distributions)):
                changes.append(f"{name}: was {before}, is now {parameter}")
            elif before.conditional != parameter.conditional:
                changes.append(f"{name}: was {_when(before)}, is now {_when(parameter)}")
        gone = [name for name in self.parameters if name not in now.parameters]
        return changes + [f"{name}: no longer asked for" for name in gone]

    def check(self, point: Mapping[str, Any]) -> None:
        """Checks values that a user names for some parameters.

        Raises:
            UserError: A name is not asked for, or a value lies outside its range.
        """
        for name, value in point.items():
            if not self.named(name).contains(value):
                raise UserError(f"{name} = {value!r} lies outside {self.parameters[name]}")

    def named(self, name: str) -> Parameter:
        """Returns the parameter that a user names.

        Raises:
            UserError: The recipe asks for none of that name.
        """
        if name not in self.parameters:
            close = get_close_matches(name, self.parameters, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise UserError(
                f"The recipe asks for no parameter {name!r}.{hint} It asks for:"
                f" {', '.join(self.parameters) or 'none'}"
            )
        return self.parameters[name]

    def to_dict(self) -> dict[str, Any]:
        """Returns the space as JSON-ready values."""
        return {
            "version": SCHEMA_VERSION,
            "parameters": {
                name: {
                    # Branches may be reached in another order when suggests are reordered.
                    "distributions": sorted(
                        (json.loads(key(asked)) for asked in parameter.distributions),
                        key=json.dumps,
                    ),
                    "conditional": parameter.conditional,
                }
                for name, parameter in self.parameters.items()
            },
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Space:
        """Makes the space that ``to_dict`` gave.

        Raises:
            UserError: It was stored by a newer version of this package.
        """
        if fields["version"] > SCHEMA_VERSION:
            raise UserError(
                f"The stored space has version {fields['version']}, this nnstudy knows"
                f" {SCHEMA_VERSION}. Upgrade: pip install -U nnstudy"
            )
        return cls(
            {
                name: Parameter(
                    tuple(json_to_distribution(json.dumps(d)) for d in parameter["distributions"]),
                    parameter["conditional"],
                )
                for name, parameter in fields["parameters"].items()
            }
        )

    def _where(self, holds: Callable[[BaseDistribution], bool]) -> list[str]:
        return [
            name
            for name, parameter in self.parameters.items()
            if all(map(holds, parameter.distributions))
        ]


def probe(
    recipe: Callable[[optuna.Trial], object],
    probes: int = 50,
    *,
    starts: Sequence[Mapping[str, Any]] = (),
) -> Space:
    """Finds a recipe's search space by running it at seeded points.

    Values are drawn by number of the probe and name of the parameter, so that the order in
    which a recipe asks changes nothing. The choices of a categorical parameter, and the
    values of a number that has few, are gone through in turn: all of them are seen where
    probes suffice.

    Args:
        recipe: Takes a trial; what it returns is thrown away. To build no weights call this
            within ``torch.device("meta")``.
        probes: How many points to try.
        starts: Points (some or all parameters) that the first probes take.

    Returns:
        The space. Exceptions of the recipe are recorded in its ``failures``;
        ``optuna.TrialPruned`` is none.

    Raises:
        UserError: A range is invalid (``low`` above ``high``, a log scale from 0), one name
            is used in ways that Optuna cannot mix, or a start lies outside the space.
    """
    with quiet_optuna():
        study = optuna.create_study(sampler=_ProbeSampler(probes))
    for start in starts:
        study.enqueue_trial(dict(start))
    with warnings.catch_warnings():
        # A start outside its range is told below, with what to do about it.
        warnings.filterwarnings("ignore", message="Fixed parameter")
        failures = [
            failure for _ in range(max(probes, len(starts))) if (failure := _try(recipe, study))
        ]
    space = _space_of(study.get_trials(deepcopy=False), failures)
    for start in starts:
        space.check(start)
    return space


class _ProbeTrial(optuna.trial.Trial):
    """A trial whose errors name the parameter."""

    def suggest_float(self, name: str, *args: Any, **kwargs: Any) -> float:
        with _naming(name):
            return super().suggest_float(name, *args, **kwargs)

    def suggest_int(self, name: str, *args: Any, **kwargs: Any) -> int:
        with _naming(name):
            return super().suggest_int(name, *args, **kwargs)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        with _naming(name):
            return super().suggest_categorical(name, choices)


class _SpaceError(UserError):
    """Tells an error of the space from a UserError that the recipe raises itself."""


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError) as error:
        hint = ""
        if "dynamic value space" in str(error) or "same parameter name" in str(error):
            hint = (
                ". One name cannot be a real and a whole number, linear and log, or have"
                " different choices in one study: use two names"
            )
        raise _SpaceError(f"Parameter {name!r}: {error}{hint}") from error


class _ProbeSampler(BaseSampler):
    def __init__(self, probes: int) -> None:
        self._probes = probes
        self._asked: Counter[tuple[str, str]] = Counter()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        values = values_of(param_distribution, limit=self._probes // 2)
        if values is None:
            seed = _seed(trial.number, param_name)
            return RandomSampler(seed).sample_independent(
                study, trial, param_name, param_distribution
            )
        # Whole rounds through all the values, each round shuffled anew: otherwise two
        # parameters with equally many values would only be seen in step.
        asked = (param_name, key(param_distribution))
        number, position = divmod(self._asked[asked], len(values))
        self._asked[asked] += 1
        order = np.random.default_rng(_seed(number, param_name)).permutation(len(values))
        return values[order[position]]


def _seed(number: int, name: str) -> int:
    sequence = np.random.SeedSequence((number, zlib.crc32(name.encode())))
    return int(sequence.generate_state(1)[0])


def _try(recipe: Callable[[optuna.Trial], object], study: optuna.Study) -> Failure | None:
    trial = _ProbeTrial(study, study.ask()._trial_id)
    try:
        recipe(trial)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        return None
    except _SpaceError:
        raise
    except Exception as error:
        study.tell(trial, state=TrialState.FAIL)
        return Failure(trial.params, error)
    study.tell(trial, 0.0)
    return None


def _space_of(trials: Sequence[FrozenTrial], failures: Sequence[Failure]) -> Space:
    # A recipe that raised may not have come to its last parameters.
    whole = [trial for trial in trials if trial.state == TrialState.COMPLETE] or trials
    times = Counter(name for trial in whole for name in trial.distributions)
    seen: dict[str, dict[str, BaseDistribution]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            seen.setdefault(name, {})[key(distribution)] = distribution
    return Space(
        {
            name: Parameter(tuple(asked.values()), conditional=times[name] < len(whole))
            for name, asked in seen.items()
        },
        tuple(failures),
    )


def _when(parameter: Parameter) -> str:
    return "asked for in some trials only" if parameter.conditional else "asked for in each trial"
