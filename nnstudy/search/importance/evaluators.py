"""Optuna's evaluators of importance, asked about chosen trials with chosen values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import optuna
from optuna.trial import FrozenTrial, create_trial

from nnstudy.search.importance.evidence import Values
from nnstudy.study.quiet_optuna import quiet_optuna

if TYPE_CHECKING:
    from optuna.importance import BaseImportanceEvaluator

EvaluatorName = Literal["ped-anova", "fanova", "mean-decrease-impurity"]

SHUFFLES: dict[EvaluatorName, int] = {
    "ped-anova": 40,
    # A forest is fitted for each.
    "fanova": 20,
    "mean-decrease-impurity": 20,
}
"""How often the values are shuffled to see what chance would give. With 20 or 40 a parameter that does
not matter is above the 95 % quantile with probability 1/21 or 2/41."""

TOP_SHARE, TOP_TRIALS = 0.1, 10
"""Trials that PED-ANOVA calls good: Optuna's default share, or ten if that is more, but no more than
half. In 40 searches over three parameters that matter and four that do not, ten found the strongest
in 78 and 95 % with 20 and 30 random trials, and five, the least by Optuna's documentation, in 53 and
68 %."""


class Evaluator:
    """An evaluator for some trials and some of their parameters.

    Args:
        name: Which one.
        trials: The trials; forests need all of them to have all of the parameters.
        parameters: Names of the parameters.
        seed: Of the forests.
    """

    def __init__(
        self,
        name: EvaluatorName,
        trials: Sequence[FrozenTrial],
        parameters: Sequence[str],
        seed: int = 0,
    ) -> None:
        self._evaluator = _make(name, len(trials), seed)
        self._study = _study_of(trials, parameters)

    def importances(self, values: Values, parameters: Sequence[str]) -> dict[str, float]:
        """Returns the importance of parameters, not normalised.

        Args:
            values: What is minimised, one for each trial.
            parameters: Names of those that are asked about.
        """
        with quiet_optuna():
            return self._evaluator.evaluate(
                self._study, list(parameters), target=lambda trial: float(values[trial.number])
            )


def top_share(trials: int) -> float:
    """Returns the share of trials that PED-ANOVA compares with all."""
    return max(TOP_SHARE, min(0.5, TOP_TRIALS / trials))


def _make(name: EvaluatorName, trials: int, seed: int) -> BaseImportanceEvaluator:
    # Takes a second.
    from optuna import importance

    if name == "ped-anova":
        return importance.PedAnovaImportanceEvaluator(target_quantile=top_share(trials))
    if name == "fanova":
        return importance.FanovaImportanceEvaluator(n_trees=16, seed=seed)
    return importance.MeanDecreaseImpurityImportanceEvaluator(seed=seed)


def _study_of(trials: Sequence[FrozenTrial], parameters: Sequence[str]) -> optuna.Study:
    """Returns a study in memory, numbered in the order of the trials."""
    with quiet_optuna():
        study = optuna.create_study()
        for trial in trials:
            names = [name for name in parameters if name in trial.params]
            study.add_trial(
                create_trial(
                    value=0.0,
                    params={name: trial.params[name] for name in names},
                    distributions={name: trial.distributions[name] for name in names},
                )
            )
    return study
