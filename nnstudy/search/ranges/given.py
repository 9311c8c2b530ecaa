"""The ranges a stage is given, instead of those that the recipe asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial

from nnstudy.search.distributions import contains, describe, key
from nnstudy.search.space import Parameter, Space


@dataclass(frozen=True)
class Range:
    """What a stage searches instead of what the recipe asks for.

    Attributes:
        name: The parameter.
        asked: What the recipe asks for; a name may be asked for differently in two branches.
        given: What is searched.
        evidence: Why, in words.
    """

    name: str
    asked: BaseDistribution
    given: BaseDistribution
    evidence: str

    @property
    def is_changed(self) -> bool:
        """Whether something else is searched than was asked for."""
        return key(self.asked) != key(self.given)

    @property
    def is_held(self) -> bool:
        """Whether the parameter has one value in the whole stage, where more were asked for."""
        return self.given.single() and not self.asked.single()

    def __str__(self) -> str:
        return f"{self.name}: {describe(self.given)}"

    def to_dict(self) -> dict[str, Any]:
        """Returns the range as JSON-ready values."""
        return {
            "name": self.name,
            "asked": json.loads(key(self.asked)),
            "given": json.loads(key(self.given)),
            "evidence": self.evidence,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Range:
        """Makes the range that ``to_dict`` gave."""
        return cls(
            fields["name"],
            json_to_distribution(json.dumps(fields["asked"])),
            json_to_distribution(json.dumps(fields["given"])),
            fields["evidence"],
        )


@dataclass(frozen=True)
class Ranges:
    """The ranges of a stage.

    Attributes:
        ranges: One for each parameter and distribution that the recipe is known to ask for;
            what is not among them is searched as it is asked for.
    """

    ranges: Sequence[Range] = ()
    _given: dict[tuple[str, str], BaseDistribution] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Prepares looking up."""
        given = {(entry.name, key(entry.asked)): entry.given for entry in self.ranges}
        object.__setattr__(self, "_given", given)

    def given(self, name: str, asked: BaseDistribution) -> BaseDistribution:
        """Returns what is searched where this is asked for."""
        return self._given.get((name, key(asked)), asked)

    def updated(self, later: Ranges) -> Ranges:
        """Returns the ranges with a later stage's, but for what that one held at a value."""
        searched = {(r.name, key(r.asked)): r for r in later.ranges if not r.is_held}
        return Ranges([searched.get((r.name, key(r.asked)), r) for r in self.ranges])

    def of(self, space: Space) -> Space:
        """Returns the space as it is searched."""
        return Space(
            {
                name: Parameter(
                    tuple(
                        {
                            key(g): g for d in asked.distributions for g in [self.given(name, d)]
                        }.values()
                    ),
                    asked.conditional,
                )
                for name, asked in space.parameters.items()
            }
        )

    def contain(self, space: Space, point: Mapping[str, Any]) -> bool:
        """Tells whether a point lies in what is searched."""
        searched = self.of(space).parameters
        return all(
            name in searched
            and any(contains(given, value) for given in searched[name].distributions)
            for name, value in point.items()
        )

    def to_list(self) -> list[dict[str, Any]]:
        """Returns the ranges as JSON-ready values."""
        return [entry.to_dict() for entry in self.ranges]

    @classmethod
    def from_list(cls, entries: Sequence[Mapping[str, Any]]) -> Ranges:
        """Makes the ranges that ``to_list`` gave."""
        return cls([Range.from_dict(entry) for entry in entries])


class RangedTrial(optuna.trial.Trial):
    """A trial whose recipe asks for its ranges and is given the stage's.

    A recipe needs to know nothing of stages. What is stored with the trial is the range that
    was searched, so that samplers see one space in all trials of a stage.

    Args:
        trial: The trial that is handed to the recipe.
        ranges: What the stage searches.
    """

    def __init__(self, trial: optuna.Trial, ranges: Ranges) -> None:
        # Not by calling Trial's: it would sample once more.
        self.__dict__.update(trial.__dict__)
        self._ranges = ranges

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        return super()._suggest(name, self._ranges.given(name, distribution))

    def _check_distribution(self, name: str, distribution: BaseDistribution) -> None:
        super()._check_distribution(name, self._ranges.given(name, distribution))


class RepeatedTrial(optuna.trial.FixedTrial):
    """Stands in for a finished trial whose recipe is asked again, in the ranges that it had.

    What a stage held or widened may lie outside of the ranges that the recipe asks for.

    Args:
        trial: The finished trial.
        ranges: What its stage searched.
    """

    def __init__(self, trial: FrozenTrial, ranges: Ranges) -> None:
        super().__init__(trial.params, trial.number)
        self._ranges = ranges

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        return super()._suggest(name, self._ranges.given(name, distribution))
