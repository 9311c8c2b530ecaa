"""What came of a confirmation, from what is stored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from nnstudy.search.confirmation.comparison import Comparison, compare
from nnstudy.search.confirmation.members import Configuration, Selection, member_of, selection_of
from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.plan import Plan
from nnstudy.search.stored import stored_stages

_NOISE = "nnstudy:seed_noise"
_TOLD = "nnstudy:confirmed"


@dataclass(frozen=True)
class Confirmation:
    """The trainings of a confirmation.

    Attributes:
        plan: The confirmation's.
        selection: What it was asked for.
        trainings: Those there are of it, by the configuration's trial and the seed.
        earlier: Numbers of seeds with which a result was told before this one.
    """

    plan: Plan
    selection: Selection
    trainings: Mapping[tuple[int, int], FrozenTrial]
    earlier: tuple[int, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every training has ended."""
        wanted = len(self.selection.configurations) * self.selection.seeds
        return sum(trial.state.is_finished() for trial in self.trainings.values()) == wanted

    @cached_property
    def comparison(self) -> Comparison:
        """What the scores tell; configurations are numbered as in the selection."""
        return compare(
            [self.scores(chosen) for chosen in self.selection.configurations],
            maximize=self.plan.direction == "maximize",
        )

    @property
    def first(self) -> Configuration | None:
        """The configuration with the best mean, of those all of whose trainings completed."""
        first = self.comparison.first
        return None if first is None else self.selection.configurations[first.index]

    def of(self, configuration: Configuration) -> list[FrozenTrial]:
        """Returns the trainings of a configuration, seed by seed."""
        members = [(configuration.trial, seed) for seed in range(self.selection.seeds)]
        return [self.trainings[member] for member in members if member in self.trainings]

    def scores(self, configuration: Configuration) -> list[float]:
        """Returns the scores of a configuration, seed by seed; NaN where there is none."""
        trials = [
            self.trainings.get((configuration.trial, seed)) for seed in range(self.selection.seeds)
        ]
        return [
            trial.value
            if trial is not None and trial.state is TrialState.COMPLETE and trial.value is not None
            else math.nan
            for trial in trials
        ]

    def failures(self, configuration: Configuration) -> list[str]:
        """Returns how trainings of a configuration ended that have no score."""
        return [
            str(trial.user_attrs.get(ATTRIBUTE, {}).get("reason") or trial.state.name)
            for trial in self.of(configuration)
            if trial.state.is_finished() and trial.state is not TrialState.COMPLETE
        ]

    def describe(self) -> dict[str, Any]:
        """Returns all there is to tell, as JSON-ready values."""
        found, chosen = self.comparison, self.selection.configurations
        differences = {one.index: one for one in found.differences}
        return {
            "study": self.plan.study,
            "stage": self.selection.source,
            "metric": self.plan.metric,
            "direction": self.plan.direction,
            "seeds": self.selection.seeds,
            "complete": self.is_complete,
            "decided": found.is_decided,
            "best": self.first.trial if self.first and found.is_decided else None,
            "candidates": [chosen[index].trial for index in found.candidates],
            "noise": found.noise,
            "earlier_results": list(self.earlier),
            "configurations": [
                {
                    "trial": chosen[one.index].trial,
                    "params": chosen[one.index].params,
                    "search_value": chosen[one.index].value,
                    "scores": [_or_none(score) for score in self.scores(chosen[one.index])],
                    "trainings": [trial.number for trial in self.of(chosen[one.index])],
                    "mean": one.mean,
                    "deviation": one.deviation,
                    "interval_95": one.interval,
                    "failures": self.failures(chosen[one.index]),
                    "behind_first": _without_index(differences.get(one.index)),
                }
                for one in found.ranked
            ],
        }


def confirmation_of(plan: Plan, study: optuna.Study) -> Confirmation | None:
    """Returns what there is of a confirmation; None while it is being stored.

    Args:
        plan: The confirmation's.
        study: Its Optuna study.
    """
    selection = selection_of(study)
    if selection is None:
        return None
    chosen = {configuration.trial for configuration in selection.configurations}
    members = {member_of(trial): trial for trial in study.get_trials(deepcopy=False)}
    return Confirmation(
        plan,
        selection,
        {
            (trial, seed): training
            for (trial, seed), training in members.items()
            if trial in chosen and seed < selection.seeds
        },
        tuple(told for told in study.user_attrs.get(_TOLD, []) if told < selection.seeds),
    )


def keep_outcome(study: optuna.Study, confirmation: Confirmation) -> None:
    """Keeps with a complete confirmation its noise, and with how many seeds it was told."""
    if confirmation.comparison.noise is not None:
        study.set_user_attr(_NOISE, confirmation.comparison.noise)
    told, seeds = study.user_attrs.get(_TOLD, []), confirmation.selection.seeds
    if seeds not in told:
        study.set_user_attr(_TOLD, [*told, seeds])


def seed_noise(storage: RDBStorage, study: str) -> float | None:
    """Returns the standard deviation of a study's scores between seeds, where it was measured.

    It is pooled over the configurations of the study's last confirmation that is complete.

    Args:
        storage: Optuna's storage.
        study: Name of the study.
    """
    found = [
        stage.optuna_study.user_attrs[_NOISE]
        for stage in stored_stages(storage, study)
        if stage.plan.kind == "confirm" and _NOISE in stage.optuna_study.user_attrs
    ]
    return float(found[-1]) if found else None


def _or_none(score: float) -> float | None:
    return score if math.isfinite(score) else None


def _without_index(difference: Any) -> dict[str, Any] | None:
    if difference is None:
        return None
    return {name: value for name, value in asdict(difference).items() if name != "index"}
