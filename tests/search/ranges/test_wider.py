import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from nnstudy.search.distributions import ends_of
from nnstudy.search.ranges.scale import Scale
from nnstudy.search.ranges.wider import Edge, wider


@pytest.mark.parametrize(
    ("asked", "edge", "ends"),
    [
        (FloatDistribution(1e-5, 1e-3, log=True), "high", (1e-5, 1e-2)),
        (FloatDistribution(1e-5, 1e-2, log=True), "low", (1e-7, 1e-2)),
        (FloatDistribution(1e-4, 1.0, log=True), "high", (1e-4, 100.0)),
        (FloatDistribution(0.01, 0.02, log=True), "high", (0.01, 0.04)),
        (FloatDistribution(1.0, 5.0), "high", (1.0, 7.0)),
        (FloatDistribution(1.0, 5.0), "low", (0.0, 5.0)),
        (FloatDistribution(-1.0, 1.0), "low", (-2.0, 1.0)),
        (FloatDistribution(0.0, 0.5), "high", (0.0, 0.75)),
        (FloatDistribution(0.5, 0.99), "high", (0.5, 0.995)),
        (FloatDistribution(0.1, 0.5, step=0.1), "high", (0.1, 0.7)),
        (IntDistribution(1, 4), "high", (1, 6)),
        (IntDistribution(3, 9), "low", (1, 9)),
        (IntDistribution(-2, 2), "low", (-4, 2)),
        (IntDistribution(16, 256, log=True), "high", (16, 1024)),
        (IntDistribution(16, 256, log=True), "low", (4, 256)),
        (IntDistribution(16, 64, step=16), "high", (16, 96)),
        # Where there is nowhere to go.
        (FloatDistribution(0.0, 0.5), "low", None),
        (FloatDistribution(0.2, 1.0), "high", None),
        (IntDistribution(1, 4), "low", None),
        (IntDistribution(0, 4), "low", None),
        (IntDistribution(1, 64, log=True), "low", None),
    ],
)
def test_a_range_gets_half_its_length_more_where_it_can(
    asked: BaseDistribution, edge: Edge, ends: tuple[float, float] | None
) -> None:
    longer = wider(asked, edge)
    assert (longer and ends_of(longer)) == (ends and pytest.approx(ends))
    assert longer is None or type(longer) is type(asked)


@pytest.mark.parametrize(
    ("choices", "edge", "following"),
    [
        ((32, 64, 128), "high", 256),
        ((128, 32, 64), "low", 16),
        ((1, 2, 3), "high", 4),
        ((1, 2, 4), "low", None),
        ((2, 4, 8), "low", 1),
        ((0, 1e-4, 1e-3), "high", 1e-2),
        ((0, 1e-4, 1e-3), "low", None),
        ((0.5, 0.9, 0.95, 0.99), "high", 0.995),
        ((-1.0, 0.0, 1.0), "low", -2.0),
        ((0.0, 0.5, 1.0), "high", None),
    ],
)
def test_choices_get_the_next_one(
    choices: tuple[float, ...], edge: Edge, following: float | None
) -> None:
    longer = wider(CategoricalDistribution(choices), edge)
    if following is None:
        assert longer is None
    else:
        assert isinstance(longer, CategoricalDistribution)
        assert longer.choices == (*choices, pytest.approx(following))
        assert type(longer.choices[-1]) is type(following)


def test_a_limit_is_kept_to_and_may_be_wider_than_what_is_usual() -> None:
    dropout = FloatDistribution(0.0, 0.9)
    assert wider(dropout, "high", (0, 0.92)) == FloatDistribution(0.0, 0.92)
    assert wider(dropout, "high", (0, 0.9)) is None
    assert wider(dropout, "high", (None, 2.0)) == FloatDistribution(0.0, 1.35)
    assert wider(dropout, "low", (-1.0, None)) == FloatDistribution(-0.45, 0.9)
    assert wider(IntDistribution(1, 4), "high", (1, 5)) == IntDistribution(1, 5)
    steps = IntDistribution(16, 64, step=16)
    assert wider(steps, "high", (None, 90)) == IntDistribution(16, 80, step=16)
    assert wider(steps, "high", (None, 70)) is None
    tenths = FloatDistribution(0.1, 0.3, step=0.1)
    assert wider(tenths, "high", (None, 0.4)) == FloatDistribution(0.1, 0.4, step=0.1)
    batch = CategoricalDistribution((32, 64, 128))
    assert wider(batch, "high", (None, 128)) is None
    assert wider(batch, "high", (None, 200.5)) == CategoricalDistribution((32, 64, 128, 200))
    assert wider(batch, "low", (20.5, None)) == CategoricalDistribution((32, 64, 128, 21))


@given(
    low=st.floats(-100, 100),
    length=st.floats(0.01, 100),
    edge=st.sampled_from(["low", "high"]),
    log=st.booleans(),
    whole=st.booleans(),
    limit=st.none() | st.tuples(st.floats(0, 50), st.floats(0, 50)),
)
def test_a_wider_range_holds_the_old_one_and_is_at_most_twice_as_long(
    low: float, length: float, edge: Edge, log: bool, whole: bool, limit: Any
) -> None:
    asked: FloatDistribution | IntDistribution
    if whole:
        assume(not log or low >= 1)
        asked = IntDistribution(round(low), round(low) + math.ceil(length) + 1, log=log)
    else:
        assume(not log or low >= 1e-3)
        asked = FloatDistribution(low, low + length, log=log)
    bounds = (asked.low - limit[0], asked.high + limit[1]) if limit else (None, None)
    longer = wider(asked, edge, bounds)
    if longer is None:
        return
    assert isinstance(longer, FloatDistribution | IntDistribution)
    assert (longer.low < asked.low) == (edge == "low")
    assert (longer.high > asked.high) == (edge == "high")
    assert longer.low >= asked.low or edge == "low"
    assert longer.high <= asked.high or edge == "high"
    assert limit is None or (longer.low >= bounds[0] - 1e-9 and longer.high <= bounds[1] + 1e-9)
    scale = Scale(asked)
    room = 0.0 if not whole else 1.0  # rounded outwards
    assert scale.position(longer.high - room * (edge == "high")) <= 2.05
    if not log:
        assert scale.position(longer.low + room * (edge == "low")) >= -1.05
