"""Interactions where the truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import optuna
import pytest

from nnstudy.search.importance import Interaction, evidence_of, interaction
from nnstudy.search.importance.words import interaction_words

from .objectives import tried


def measured(value: Callable[[float, float], float], trials: int = 60) -> Interaction | None:
    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-4, 1, log=True)
        decay = trial.suggest_float("decay", -1, 1)
        trial.suggest_categorical("colour", ["red", "green"])
        return value(math.log10(lr) / 2 + 1, decay)

    found = tried(objective, trials)
    return interaction(evidence_of(found, "minimize", is_even=True), "lr", "decay")


def test_effects_that_add_up_are_no_interaction() -> None:
    found = measured(lambda x, y: x**2 + y)
    assert found is not None
    assert not found.is_told
    assert found.share < 0.1
    assert interaction_words(found).startswith("lr and decay: no interaction to be seen")


def test_effects_that_multiply_are_one() -> None:
    found = measured(lambda x, y: x * y)
    assert found is not None
    assert found.is_told
    assert found.share > 0.4
    assert interaction_words(found) == (
        f"lr and decay act together: {found.share:.0%} of what both explain is their interaction"
        f" (by chance up to {found.chance:.0%}; 60 trials)"
    )


def test_choices_have_interactions_too() -> None:
    def objective(trial: optuna.Trial) -> float:
        place = trial.suggest_float("place", -1, 1)
        sign = {"up": 1.0, "flat": 0.0, "down": -1.0}
        return sign[trial.suggest_categorical("way", list(sign))] * place

    trials = tried(objective, 60)
    found = interaction(evidence_of(trials, "minimize", is_even=True), "way", "place")
    assert found is not None
    assert found.is_told


def test_few_trials_tell_no_interaction() -> None:
    assert measured(lambda x, y: x * y, trials=19) is None
    assert measured(lambda x, y: 1.0, trials=20) is None


def test_only_trials_that_ask_for_both_count() -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -1, 1)
        if trial.number % 2:
            return x
        return x * trial.suggest_float("y", -1, 1)

    found = interaction(evidence_of(tried(objective, 50), "maximize", is_even=True), "x", "y")
    assert found is not None
    assert found.trials == 25


@pytest.mark.slow
def test_additive_effects_are_rarely_taken_for_an_interaction() -> None:
    def objective(trial: optuna.Trial) -> float:
        x, y = (trial.suggest_float(name, -1, 1) for name in "xy")
        return x**2 + y + 0.3 * math.sin(1e4 * (x + 3 * y))

    found = [
        interaction(
            evidence_of(tried(objective, 40, seed=seed), "minimize", is_even=True), "x", "y"
        )
        for seed in range(5)
    ]
    assert sum(one is not None and one.is_told for one in found) <= 1
