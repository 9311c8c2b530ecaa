"""Narrowing on trials whose best places are known."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from nnstudy.search.ranges.given import Range, Ranges
from nnstudy.search.ranges.holding import as_asked
from nnstudy.search.ranges.narrowing import _margin, carried, narrowed
from nnstudy.search.ranges.scale import Scale
from nnstudy.search.space import Parameter, Space

RATE = FloatDistribution(1e-5, 10.0, log=True)
UNITS = IntDistribution(16, 256, log=True)
OPTIMIZER = CategoricalDistribution(["adam", "rprop", "sgd"])
MOMENTUM = FloatDistribution(0.0, 1.0)
SPACE = Space(
    {
        "lr": Parameter((RATE,)),
        "units": Parameter((UNITS,)),
        "optimizer": Parameter((OPTIMIZER,)),
        "momentum": Parameter((MOMENTUM,), conditional=True),
    }
)


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    trial.suggest_float("lr", 1e-5, 10.0, log=True)
    trial.suggest_int("units", 16, 256, log=True)
    if trial.suggest_categorical("optimizer", OPTIMIZER.choices) == "sgd":
        trial.suggest_float("momentum", 0.0, 1.0)
    return trial.params


def searched(
    loss: Callable[[dict[str, Any]], float],
    count: int,
    seed: int = 0,
    sampler: optuna.samplers.BaseSampler | None = None,
) -> list[FrozenTrial]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=sampler or optuna.samplers.RandomSampler(seed))
    study.optimize(lambda trial: loss(suggest(trial)), n_trials=count)
    return study.trials


def rate_matters(params: dict[str, Any]) -> float:
    return abs(math.log10(params["lr"]) + 2) + (3.0 if params["optimizer"] == "rprop" else 0.0)


def range_of(ranges: Ranges, name: str) -> Range:
    (entry,) = (entry for entry in ranges.ranges if entry.name == name)
    return entry


def narrow(trials: list[FrozenTrial], before: Ranges | None = None) -> Ranges:
    return narrowed(SPACE, before or as_asked(SPACE), trials, "minimize")


def test_a_rate_is_narrowed_around_its_best_and_what_does_not_matter_stays() -> None:
    ranges = narrow(searched(rate_matters, 40))
    rate = range_of(ranges, "lr").given
    assert isinstance(rate, FloatDistribution)
    assert rate.log
    assert 1e-5 < rate.low < 1e-2 < rate.high < 10
    assert rate.high / rate.low < 1e6 / 10
    assert "10 best of 40" in range_of(ranges, "lr").evidence
    assert not range_of(ranges, "units").is_changed
    assert "by chance" in range_of(ranges, "units").evidence


def test_a_choice_that_never_does_well_is_dropped() -> None:
    optimizer = range_of(narrow(searched(rate_matters, 40)), "optimizer")
    assert optimizer.given == CategoricalDistribution(["adam", "sgd"])
    assert "'rprop'" in optimizer.evidence


def test_nothing_is_narrowed_on_too_little_evidence() -> None:
    for entry in narrow(searched(rate_matters, 7)).ranges:
        assert not entry.is_changed
        assert "too few trials" in entry.evidence


def narrowed_depth(asked: IntDistribution, count: int, *bad: int) -> Range:
    """Narrows a whole number of which some values are bad, and the others much alike."""
    noise = np.random.default_rng(1)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(1))

    def loss(trial: optuna.Trial) -> float:
        depth = trial.suggest_int("depth", asked.low, asked.high, step=asked.step)
        return noise.uniform() + (1.0 if depth in bad else 0.0)

    study.optimize(loss, n_trials=count)
    space = Space({"depth": Parameter((asked,))})
    return range_of(narrowed(space, as_asked(space), study.trials, "minimize"), "depth")


def test_a_whole_number_that_never_does_well_is_left_out() -> None:
    depth = narrowed_depth(IntDistribution(1, 3), 60, 3)
    assert depth.given == IntDistribution(1, 2)
    assert "the 15 best of 60 lie in 1..2" in depth.evidence
    assert narrowed_depth(IntDistribution(1, 3), 60, 1).given == IntDistribution(2, 3)


def test_a_step_that_never_does_well_is_left_out() -> None:
    width = narrowed_depth(IntDistribution(16, 64, step=16), 60, 16, 64)
    assert width.given == IntDistribution(32, 48, step=16)


def test_a_whole_number_between_good_ones_stays() -> None:
    assert not narrowed_depth(IntDistribution(1, 3), 60, 2).is_changed


def test_no_whole_number_is_left_out_on_too_little_evidence() -> None:
    depth = narrowed_depth(IntDistribution(1, 3), 10, 3)
    assert not depth.is_changed
    assert "as by chance" in depth.evidence


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_noise_narrows_no_more_often_than_chance_allows(sampler: str) -> None:
    narrowed_ranges = {"lr": 0, "units": 0, "optimizer": 0}
    repeats = 100 if sampler == "random" else 20
    for seed in range(repeats):
        noise = np.random.default_rng(seed)
        chosen = optuna.samplers.TPESampler(seed=seed) if sampler == "tpe" else None
        trials = searched(lambda _, noise=noise: noise.normal(), 24, seed, chosen)
        for name in narrowed_ranges:
            narrowed_ranges[name] += range_of(narrow(trials), name).is_changed
    # One in ten by design; three standard deviations above.
    allowed = repeats * 0.1 + 3 * math.sqrt(repeats * 0.09)
    assert max(narrowed_ranges.values()) <= allowed, narrowed_ranges
    assert sum(narrowed_ranges.values()) > 0, "the test could not see anything"


def test_a_conditional_parameter_is_narrowed_on_the_trials_that_have_it() -> None:
    def loss(params: dict[str, Any]) -> float:
        return abs(params.get("momentum", 5.0) - 0.9)

    ranges = narrow(searched(loss, 150))
    momentum = range_of(ranges, "momentum").given
    assert isinstance(momentum, FloatDistribution)
    assert momentum.low > 0.4
    assert momentum.high <= 1.0


def test_the_next_range_may_reach_beyond_the_last_but_not_beyond_what_is_asked() -> None:
    def edge_is_best(trial: optuna.Trial, low: float, high: float) -> float:
        return abs(math.log10(trial.suggest_float("lr", low, high, log=True)) - 3)

    last = FloatDistribution(1e-5, 1e-3, log=True)
    before = Ranges(
        [
            Range(entry.name, entry.asked, last if entry.name == "lr" else entry.given, "")
            for entry in as_asked(SPACE).ranges
        ]
    )
    found = []
    for ranges, searched_range in ((before, last), (as_asked(SPACE), RATE)):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(2))
        low, high = searched_range.low, searched_range.high
        study.optimize(partial(edge_is_best, low=low, high=high), n_trials=30)
        found.append(range_of(narrow(study.trials, ranges), "lr").given)
    beyond, asked = found
    assert isinstance(beyond, FloatDistribution)
    assert 1e-5 < beyond.low < 1e-3 < beyond.high < 10
    assert isinstance(asked, FloatDistribution)
    assert asked.high == RATE.high


@given(st.integers(0, 10_000), st.integers(8, 30))
@settings(deadline=None, max_examples=25)
def test_narrowed_ranges_lie_in_the_asked_ones_and_hold_the_best_points(
    seed: int, count: int
) -> None:
    trials = searched(rate_matters, count, seed)
    ranges = narrow(trials)
    for entry in ranges.ranges:
        if isinstance(entry.given, CategoricalDistribution):
            assert set(entry.given.choices) <= set(entry.asked.choices)  # type: ignore[attr-defined]
        else:
            assert isinstance(entry.asked, FloatDistribution | IntDistribution)
            scale = Scale(entry.asked)
            assert scale.position(entry.given.low) >= -1e-9  # type: ignore[attr-defined]
            assert scale.position(entry.given.high) <= 1 + 1e-9  # type: ignore[attr-defined]
    best = min(trials, key=lambda trial: trial.value or 0.0)
    if best.params["optimizer"] in range_of(ranges, "optimizer").given.choices:  # type: ignore[attr-defined]
        assert carried(SPACE, ranges, trials, "minimize", 3)[0] == best.params
    assert narrow(trials[::-1]) == ranges


def test_the_margin_makes_the_ends_unbiased() -> None:
    generator = np.random.default_rng(3)
    for count in (3, 5, 10):
        draws = generator.random((20_000, count))
        low, high = np.quantile(draws, [0.1, 0.9], axis=1)
        margin = _margin(count) * (high - low)
        assert (low - margin).mean() == pytest.approx(0.0, abs=0.01)
        assert (high + margin).mean() == pytest.approx(1.0, abs=0.01)


def test_the_best_points_that_agree_with_what_is_held_are_carried_on() -> None:
    trials = searched(rate_matters, 20)
    best = min(trials, key=lambda trial: trial.value or 0.0)
    held = Range("lr", RATE, FloatDistribution(best.params["lr"], best.params["lr"]), "held")
    others = [entry for entry in as_asked(SPACE).ranges if entry.name != "lr"]
    points = carried(SPACE, Ranges([held, *others]), trials, "minimize", 3)
    assert points == [{name: v for name, v in best.params.items() if name != "lr"}]


def test_no_point_with_a_dropped_choice_is_carried_on() -> None:
    trials = searched(rate_matters, 20)
    dropped = Range("optimizer", OPTIMIZER, CategoricalDistribution(["rprop", "sgd"]), "")
    others = [entry for entry in as_asked(SPACE).ranges if entry.name != "optimizer"]
    points = carried(SPACE, Ranges([dropped, *others]), trials, "minimize", 9)
    assert {point["optimizer"] for point in points} == {"rprop", "sgd"}
    ranked_values = [trial.value for point in points for trial in trials if trial.params == point]
    assert ranked_values == sorted(ranked_values, key=lambda value: value or 0.0)
