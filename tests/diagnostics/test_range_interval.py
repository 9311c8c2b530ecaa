from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD

from nnstudy.diagnostics import (
    RangeTest,
    find_interval,
    learning_rate_range_test,
    suggest_rates,
    why_none,
)
from nnstudy.errors import UserError


def made(
    falls_at: float = 1e-2, explodes_at: float = 1.0, *, depth: float = 0.8, noise: float = 0.05,
    seed: int = 0,
) -> RangeTest:  # fmt: skip
    """A test whose loss falls from 2.3 by a share of it, a decade wide, and explodes."""
    rates = np.logspace(-5, 1, 400)
    rates = rates[rates < 1.2 * explodes_at]
    fall = 1 / (1 + (falls_at / rates) ** 2)
    losses = 2.3 * (1 - depth * fall) + np.random.default_rng(seed).normal(0, noise, len(rates))
    losses[rates > explodes_at] *= np.exp(40 * np.log(rates[rates > explodes_at] / explodes_at))
    return RangeTest(
        rates=tuple(rates.tolist()),
        losses=tuple(losses.tolist()),
        before=2.3,
        noise=noise,
        error=noise / 20**0.5,
        constant=None,
        exploded=explodes_at < 8,
    )


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("falls_at", "explodes_at"), [(1e-4, 1e-3), (1e-3, 1.0), (0.1, 1.0)])
def test_interval_reaches_from_the_beginning_of_the_fall_to_the_explosion(
    falls_at: float, explodes_at: float, seed: int
) -> None:
    interval = find_interval(made(falls_at, explodes_at, seed=seed))
    assert interval is not None
    # A tenth is won at a third of the rate at which half is; smoothing adds a little.
    assert 0.15 * falls_at < interval.low < 0.6 * falls_at
    assert 0.4 * falls_at < interval.steepest < 2.5 * falls_at
    assert 0.5 * explodes_at < interval.high < 1.1 * explodes_at
    assert not interval.falls_at_once
    assert not interval.falls_on


def test_a_huge_explosion_moves_no_edge() -> None:
    test = made()
    losses = list(test.losses)
    losses[-1] = 1e30
    assert find_interval(replace(test, losses=tuple(losses))) == find_interval(test)
    losses[-1] = math.nan
    assert find_interval(replace(test, losses=tuple(losses))) == find_interval(test)


def test_a_loss_that_still_falls_at_the_end_says_so() -> None:
    interval = find_interval(made(falls_at=1.0, explodes_at=100.0))
    assert interval is not None
    assert interval.falls_on
    assert interval.high == pytest.approx(10.0)


def test_a_loss_that_falls_from_the_first_says_so() -> None:
    interval = find_interval(made(falls_at=3e-6))
    assert interval is not None
    assert interval.falls_at_once


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_units_of_the_loss_and_of_the_rate_do_not_matter(loss: float, rate: float) -> None:
    test = made()
    scaled = RangeTest(
        rates=tuple(rate * r for r in test.rates),
        losses=tuple(loss * each for each in test.losses),
        before=loss * test.before,
        noise=loss * test.noise,
        error=loss * test.error,
        constant=None,
        exploded=test.exploded,
    )
    interval, expected = find_interval(scaled), find_interval(test)
    assert interval is not None
    assert expected is not None
    assert interval.low == pytest.approx(rate * expected.low)
    assert interval.high == pytest.approx(rate * expected.high)
    assert interval.steepest == pytest.approx(rate * expected.steepest)


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_is_no_fall(seed: int) -> None:
    assert find_interval(made(depth=0.0, noise=0.5, seed=seed)) is None


def test_a_fall_of_less_than_a_hundredth_is_none() -> None:
    assert find_interval(made(depth=0.008, noise=1e-6)) is None
    assert find_interval(made(depth=0.02, noise=1e-6)) is not None


def test_what_is_learnt_without_the_inputs_is_no_fall() -> None:
    """The loss falls by 80 %, and an answer that ignores the inputs does as well."""
    test = made()
    assert find_interval(replace(test, constant=0.2 * 2.3)) is None
    interval = find_interval(replace(test, constant=0.5 * 2.3))
    assert interval is not None
    assert interval.low > 5e-3


def test_suggestion_is_rounded_outwards_to_1_or_3() -> None:
    suggestion = suggest_rates([made(falls_at=2e-2, explodes_at=0.7)])
    assert suggestion is not None
    (interval,) = suggestion.intervals
    assert interval is not None
    assert (suggestion.low, suggestion.high) == (0.003, 1.0)
    assert suggestion.low < interval.low
    assert interval.high < suggestion.high
    assert suggestion.start == pytest.approx(interval.steepest)


def test_one_strange_seed_of_three_changes_nothing() -> None:
    usual = [made(seed=seed) for seed in range(2)]
    strange = made(falls_at=1e-4, explodes_at=1e-3)
    alone, together = suggest_rates(usual), suggest_rates([*usual, strange])
    assert alone is not None
    assert together is not None
    assert (together.low, together.high) == (alone.low, alone.high)


def test_nothing_is_suggested_where_half_of_the_tests_do_not_fall() -> None:
    flat = made(depth=0.0)
    assert suggest_rates([made(), flat]) is None
    assert suggest_rates([made(), made(), flat]) is not None


def test_nothing_is_suggested_from_no_tests() -> None:
    with pytest.raises(UserError, match="no range tests"):
        suggest_rates([])


def trained(seed: int, *, labels_tell: bool) -> RangeTest:
    """A real training, with labels that belong to the inputs or do not."""
    torch.manual_seed(seed)
    targets = torch.randint(0, 3, (3200,))
    inputs = torch.randn(3200, 8) + 2 * torch.eye(8)[targets]
    if not labels_tell:
        targets = targets[torch.randperm(3200)]
    network = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
    with torch.no_grad():
        network[2].bias += torch.tensor([2.0, 0.0, -2.0])  # far from chance: the loss will fall
    return learning_rate_range_test(
        network,
        SGD(network.parameters(), lr=1.0),
        nn.functional.cross_entropy,
        list(zip(inputs.split(32), targets.split(32), strict=True)),
    )


def test_suggestions_from_other_seeds_agree_within_half_a_decade() -> None:
    tests = [trained(seed, labels_tell=True) for seed in range(9)]
    suggestions = [suggest_rates(tests[i : i + 3]) for i in (0, 3, 6)]
    for edge in ("low", "high", "start"):
        values = [math.log10(getattr(suggestion, edge)) for suggestion in suggestions]
        assert max(values) - min(values) < 0.55, edge


def test_where_labels_tell_nothing_no_rate_is_suggested_and_words_say_why() -> None:
    tests = [trained(seed, labels_tell=False) for seed in range(3)]
    assert min(tests[0].losses) < 0.8 * tests[0].before  # it does fall, to what is frequent
    assert suggest_rates(tests) is None
    told = why_none(tests)
    assert told.startswith("no rate makes the loss fall: before any step it is 2.")
    assert "an answer that ignores the inputs has 1.09" in told
