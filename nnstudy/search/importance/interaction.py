"""Whether two parameters act together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from nnstudy.search.importance.evidence import Evidence, Values

LEAST = 20
"""Complete trials without which nothing is said of an interaction."""

SHUFFLES = 20
TREES = 30
GRID = 12
QUANTILE = 0.95

LEAST_SHARE = 0.05
"""Less is no interaction worth a word, however sure it is."""


@dataclass(frozen=True)
class Interaction:
    """How much of what two parameters explain is due to their acting together.

    Attributes:
        first: Name of a parameter.
        second: Name of the other one.
        trials: Complete trials that asked for both.
        share: Friedman and Popescu's H squared, 0 (their effects add up) to 1.
        chance: The 95 % quantile of what it would be if effects added up.
    """

    first: str
    second: str
    trials: int
    share: float
    chance: float

    @property
    def is_told(self) -> bool:
        """Whether it is told from chance, and large enough to matter."""
        return self.share > self.chance and self.share >= LEAST_SHARE


def interaction(evidence: Evidence, first: str, second: str, seed: int = 0) -> Interaction | None:
    """Measures the interaction of two parameters (Friedman and Popescu 2008, section 8).

    A random forest is fitted to the trials that ask for both, on all that these have in common.
    Its partial dependence on the two, over a grid of their quantiles, is split into what each
    explains by itself and the rest: H squared is the rest's share of the variance. A forest sees
    interactions in noise too, so the same is done for values that have none: those of an additive
    model, with its residuals shuffled (the same section).

    Args:
        evidence: Complete trials.
        first: Name of a parameter.
        second: Name of the other one.
        seed: Of forests and shuffles.

    Returns:
        None where fewer than 20 trials ask for both, or one of them does not vary.
    """
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.model_selection import cross_val_predict

    both = evidence.of([{first, second} <= trial.params.keys() for trial in evidence.trials])
    if len(both.trials) < LEAST or np.ptp(both.values) == 0:
        return None
    common = set.intersection(*(set(trial.params) for trial in both.trials))
    names = [first, second, *sorted(common - {first, second})]
    columns = [[trial.params[name] for trial in both.trials] for name in names]
    if any(len(set(column)) < 2 for column in columns[:2]):
        return None
    is_choice = [_is_choice(both.trials, name) for name in names]
    inputs = _ranked(columns, is_choice, both.values)
    # Trees with one split each have no interactions. Fitted to the trials that it predicts, the model
    # would take noise for effects, and chance would look smaller than it is.
    additive = GradientBoostingRegressor(max_depth=1, n_estimators=60, random_state=seed)
    expected = cross_val_predict(additive, inputs, both.values, cv=5)
    generator = np.random.default_rng(seed)
    by_chance = []
    for shuffle in range(SHUFFLES):
        values = expected + generator.permutation(both.values - expected)
        by_chance.append(_share(_ranked(columns, is_choice, values), values, seed + shuffle + 1))
    return Interaction(
        first,
        second,
        len(both.trials),
        _share(inputs, both.values, seed),
        float(np.quantile(by_chance, QUANTILE, method="higher")),
    )


def _is_choice(trials: Sequence[FrozenTrial], name: str) -> bool:
    return any(isinstance(trial.distributions[name], CategoricalDistribution) for trial in trials)


def _ranked(
    columns: Sequence[Sequence[Any]], is_choice: Sequence[bool], values: Values
) -> NDArray[np.float64]:
    """Returns each parameter on a scale from 0 to 1, on which trials are spread evenly.

    Trees only see the order, so this is no other fit, but an even grid is one of quantiles, on
    linear and log scales alike. Choices are in the order of their mean values: the best split of
    choices is one in this order (Breiman et al. 1984).
    """
    from scipy.stats import rankdata

    return np.column_stack(
        [
            rankdata(
                _means(column, values) if choice else column,
                method="dense" if choice else "average",
            )
            for column, choice in zip(columns, is_choice, strict=True)
        ]
    )


def _means(column: Sequence[Any], values: Values) -> list[float]:
    labels = [repr(value) for value in column]
    means = {label: float(values[[own == label for own in labels]].mean()) for label in set(labels)}
    return [means[label] for label in labels]


def _share(inputs: NDArray[np.float64], values: Values, seed: int) -> float:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import partial_dependence

    forest = RandomForestRegressor(TREES, min_samples_leaf=2, random_state=seed)
    table = partial_dependence(
        forest.fit(inputs, values),
        inputs,
        [0, 1],
        grid_resolution=GRID,
        percentiles=(0, 1),
        method="recursion",
        kind="average",
    )["average"][0]
    table = table - table.mean()
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True)
    explained = float((table**2).sum())
    return float((rest**2).sum()) / explained if not math.isclose(explained, 0) else 0.0
