"""Borders: where they are seen, where not, and what does not matter."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.ranges.borders import Border, borders

RATE = FloatDistribution(1e-5, 1e-3, log=True)
SHARE = FloatDistribution(0.0, 0.5)
WIDTH = IntDistribution(16, 256, log=True)
BATCH = CategoricalDistribution((128, 32, 64))


def numbered(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    study = optuna.create_study()
    study.add_trials(trials)
    return study.trials


def trial(value: float, asked: dict[str, BaseDistribution], **params: Any) -> FrozenTrial:
    return create_trial(value=value, params=params, distributions=asked)


def search(
    asked: BaseDistribution, score: Callable[[float], float], trials: int = 20
) -> list[FrozenTrial]:
    """Trials spread evenly over a range, in a shuffled order."""
    numbers = np.random.default_rng(0).permutation(trials)
    order = numbers / (trials - 1)
    if isinstance(asked, CategoricalDistribution):
        values = [asked.choices[number % len(asked.choices)] for number in numbers]
    elif asked.log:
        values = [asked.low * (asked.high / asked.low) ** place for place in order]
    else:
        values = [asked.low + (asked.high - asked.low) * place for place in order]
    if isinstance(asked, IntDistribution):
        values = [round(value) for value in values]
    return numbered([trial(score(value), {"x": asked}, x=value) for value in values])


def test_values_that_grow_up_to_the_edge_are_named_with_the_range_to_search() -> None:
    [border] = borders(search(RATE, math.log), "maximize")
    assert (border.parameter, border.edge) == ("x", "high")
    assert (border.asked, border.wider) == (RATE, FloatDistribution(1e-5, 1e-2, log=True))
    assert (border.good, border.good_inside, border.inside, border.trials) == (5, 3, 3, 20)
    assert border.expected == pytest.approx(0.75)
    assert border.probability == pytest.approx(1 / math.comb(20, 5))
    assert str(border) == (
        "x: the 3 best and 3 of the 5 good trials lie in the highest 12% of 1e-05..0.001 (log),"
        " where chance would put 0.75: search up to 0.01"
    )
    [border] = borders(search(RATE, math.log), "minimize")
    assert border.edge == "low"
    assert str(border).endswith("search down to 1e-06")
    assert json.loads(json.dumps(border.to_dict()))["text"] == str(border)


def test_a_best_value_within_is_no_border_however_near_the_good_ones_are() -> None:
    for best in (0.2, 0.3, 0.5, 0.8):
        for trials in (20, 40, 100):
            within = search(FloatDistribution(0.0, 1.0), lambda x, b=best: abs(x - b), trials)
            assert borders(within, "minimize", {"x": (-1, 2)}) == []


def test_choices_that_are_numbers_have_an_order() -> None:
    [border] = borders(search(BATCH, lambda size: size, 30), "maximize")
    assert border.wider == CategoricalDistribution((128, 32, 64, 256))
    assert "best and 8 of the 8 good trials have the highest of 32, 64, 128," in str(border)
    assert str(border).endswith("try 256 too")
    assert borders(search(BATCH, lambda size: abs(size - 64), 30), "minimize") == []
    for choices in ((32, 128), ("a", "b", "c"), (False, True, 2)):
        asked = CategoricalDistribution(choices)
        assert borders(search(asked, choices.index, 30), "minimize") == []


def test_an_edge_that_cannot_be_gone_beyond_is_not_named() -> None:
    for asked in (SHARE, IntDistribution(1, 8), IntDistribution(0, 8)):
        assert borders(search(asked, float), "minimize") == []
        assert len(borders(search(asked, float), "maximize")) == 1
    assert borders(search(SHARE, float), "maximize", {"x": (0, 0.5)}) == []
    [border] = borders(search(SHARE, float), "maximize", {"x": (0, 0.6)})
    assert border.wider == FloatDistribution(0.0, 0.6)


def test_too_few_trials_or_no_difference_say_nothing() -> None:
    assert borders([], "minimize") == []
    assert borders(search(RATE, float, 9), "maximize") == []
    assert len(borders(search(RATE, float, 10), "maximize")) == 1
    same = numbered([trial(float(i), {"x": RATE}, x=1e-3) for i in range(20)])
    assert borders(same, "maximize") == []
    fixed = FloatDistribution(0.5, 0.5)
    assert borders(numbered([trial(1.0, {"x": fixed}, x=0.5)] * 20), "maximize") == []


def test_trials_that_failed_or_run_say_nothing_and_diverged_ones_are_not_good() -> None:
    trials = search(RATE, math.log)
    others = [
        create_trial(state=state, params={"x": 1e-5}, distributions={"x": RATE})
        for state in [TrialState.FAIL] * 30 + [TrialState.RUNNING] * 5
    ]
    assert borders([*trials, *numbered(others)], "maximize") == borders(trials, "maximize")
    diverged = create_trial(
        state=TrialState.PRUNED,
        params={"x": 1e-3},
        distributions={"x": RATE},
        user_attrs={ATTRIBUTE: {"ended": "diverged"}},
    )
    assert borders(numbered([diverged] * 20), "maximize") == []
    # The rates above are too high: the best of what has not diverged is no border.
    cliff = [t if t.params["x"] < 4e-4 else diverged for t in trials]
    assert borders(numbered(cliff), "maximize") == []


def test_each_branch_is_looked_at_with_its_own_trials_and_range() -> None:
    wide = FloatDistribution(1e-5, 1.0, log=True)
    sgd = [
        trial(-abs(math.log(t.params["x"] / 1e-4)), {"x": RATE}, **t.params)
        for t in search(RATE, float)
    ]
    adam = [trial(math.log(t.params["x"]), {"x": wide}, **t.params) for t in search(wide, float)]
    [border] = borders(numbered([*sgd, *adam]), "maximize")
    assert (border.asked, border.trials) == (wide, 20)


def test_trials_piled_at_the_edge_are_seen_as_long_as_the_others_are_worse() -> None:
    piled = [*np.linspace(0, 0.85, 20), *np.linspace(0.95, 1, 20)]
    asked = FloatDistribution(0.0, 10.0)
    trials = numbered([trial(x, {"x": asked}, x=10 * x) for x in piled])
    [border] = borders(trials, "maximize")
    assert (border.good_inside, border.inside) == (10, 20)
    # Where they are piled but no better than elsewhere, they are no evidence.
    scores = np.random.default_rng(1).permutation(len(piled))
    trials = numbered(
        [trial(s, {"x": asked}, x=10 * x) for s, x in zip(scores, piled, strict=True)]
    )
    assert borders(trials, "maximize") == []


places = st.lists(st.integers(0, 1000), min_size=10, max_size=40, unique=True)


def drawn(
    places: Sequence[int], scores: Sequence[float], low: float, high: float, *, log: bool = False
) -> list[FrozenTrial]:
    asked = FloatDistribution(low, high, log=log)
    values = [
        low * (high / low) ** (p / 1000) if log else low + (high - low) * p / 1000 for p in places
    ]
    # Rounding may put the last value above the end.
    return numbered(
        [
            trial(float(s), {"x": asked}, x=min(high, max(low, v)))
            for s, v in zip(scores, values, strict=True)
        ]
    )


def told(found: Sequence[Border]) -> set[tuple[Any, ...]]:
    return {
        (b.edge, b.best_inside, b.good, b.good_inside, b.inside, round(b.probability, 9))
        for b in found
    }


@st.composite
def searches(draw: st.DrawFn) -> tuple[list[int], list[float]]:
    """Places and distinct scores, which depend on the place to some degree."""
    at = draw(places)
    noise = draw(st.permutations(range(len(at))))
    weight = draw(st.sampled_from([0.0, 1.0, 10.0]))
    return at, [weight * p / 1000 + n / len(at) + p * 1e-7 for p, n in zip(at, noise, strict=True)]


@settings(max_examples=30, deadline=None)
@given(searches())
def test_a_mirrored_objective_has_the_mirrored_border(
    given: tuple[list[int], list[float]],
) -> None:
    at, scores = given
    sides = {"low": "high", "high": "low"}
    mirrored = told(borders(drawn([1000 - p for p in at], scores, -1, 1), "maximize"))
    straight = told(borders(drawn(at, scores, -1, 1), "maximize"))
    assert {(sides[edge], *rest) for edge, *rest in mirrored} == straight
    assert told(borders(drawn(at, [-s for s in scores], -1, 1), "minimize")) == straight


@settings(max_examples=30, deadline=None)
@given(searches())
def test_neither_the_scale_nor_a_growing_score_nor_the_order_matters(
    given: tuple[list[int], list[float]],
) -> None:
    at, scores = given
    straight = told(borders(drawn(at, scores, -1, 1), "maximize"))
    assert told(borders(drawn(at, scores, -1000, 5000), "maximize")) == straight
    assert told(borders(drawn(at, scores, 1e-6, 1e-3, log=True), "maximize")) == straight
    assert told(borders(drawn(at, [math.exp(s) for s in scores], -1, 1), "maximize")) == straight
    assert told(borders(drawn(at[::-1], scores[::-1], -1, 1), "maximize")) == straight


def test_an_irrelevant_parameter_is_rarely_named() -> None:
    generator = np.random.default_rng(3)
    named = 0
    for _ in range(200):
        at = generator.permutation(1001)[:30]
        named += bool(borders(drawn(at, generator.permutation(30), -1, 1), "maximize"))
    assert named <= 4  # 2 % are expected at most; this many have a chance of 5 in 200 or more
