from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudy.errors import UserError
from nnstudy.training.early_stopping import Direction, EarlyStopping, Patience

values = st.lists(st.floats(-10, 10) | st.just(math.nan), max_size=30)


def stop_at(rule: EarlyStopping, direction: Direction, curve: list[float]) -> int | None:
    patience = Patience(rule, direction)
    for number, value in enumerate(curve, start=1):
        if patience.update(value):
            return number
    return None


def test_a_training_stops_after_so_many_validations_without_improvement() -> None:
    curve = [1.0, 0.8, 0.9, 0.7, 0.7, 0.8, 0.75, 0.6]
    assert stop_at(EarlyStopping(patience=3), "minimize", curve) == 7
    assert stop_at(EarlyStopping(patience=4), "minimize", curve) is None


def test_scores_are_maximised() -> None:
    assert stop_at(EarlyStopping(patience=2), "maximize", [0.5, 0.6, 0.7, 0.7, 0.7]) == 5


def test_changes_below_min_delta_do_not_count_but_are_the_best_all_the_same() -> None:
    patience = Patience(EarlyStopping(patience=2, min_delta=0.1), "maximize")
    assert [patience.update(value) for value in [0.5, 0.55, 0.59]] == [False, False, True]
    assert patience.best == 0.59


def test_small_changes_count_once_they_have_added_up() -> None:
    curve = [0.5, 0.56, 0.62, 0.68, 0.74]
    assert stop_at(EarlyStopping(patience=2, min_delta=0.1), "maximize", curve) is None


def test_nan_is_never_an_improvement() -> None:
    patience = Patience(EarlyStopping(patience=3), "minimize")
    assert [patience.update(math.nan) for _ in range(2)] == [False, False]
    assert patience.best is None
    assert not patience.update(1.0)
    assert [patience.update(math.nan) for _ in range(3)] == [False, False, True]
    assert patience.best == 1.0


@given(curve=values, wait=st.integers(1, 5), maximize=st.booleans())
def test_without_min_delta_the_last_improvement_was_patience_validations_ago(
    curve: list[float], wait: int, maximize: bool
) -> None:
    direction: Direction = "maximize" if maximize else "minimize"
    stopped = stop_at(EarlyStopping(patience=wait), direction, curve)
    improvements = [0]
    best = -math.inf
    for number, value in enumerate(curve, start=1):
        signed = value if maximize else -value
        if signed > best:
            best = signed
            improvements.append(number)
    gaps = [b - a for a, b in zip(improvements, [*improvements[1:], len(curve) + 1], strict=True)]
    first = next((at for at, gap in zip(improvements, gaps, strict=True) if gap > wait), None)
    assert stopped == (None if first is None else first + wait)


@given(curve=values, stop=st.integers(0, 30), min_delta=st.floats(0, 2))
def test_counting_goes_on_from_a_state(curve: list[float], stop: int, min_delta: float) -> None:
    rule = EarlyStopping(patience=3, min_delta=min_delta)
    whole, first, second = (Patience(rule, "minimize") for _ in range(3))
    wanted = [whole.update(value) for value in curve]
    seen = [first.update(value) for value in curve[:stop]]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    seen += [second.update(value) for value in curve[stop:]]
    assert seen == wanted
    assert second.best == whole.best


@pytest.mark.parametrize(
    "settings",
    [
        {"patience": 0},
        {"min_delta": -0.1},
        {"min_delta": math.nan},
        {"max_epochs": 0},
        {"max_epochs": math.nan},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(settings))}=...\\) must .* got"):
        EarlyStopping(**settings)


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(UserError, match="maximize or minimize"):
        Patience(EarlyStopping(), "up")
