"""What a trial is judged by."""

from __future__ import annotations

import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudy.errors import UserError
from nnstudy.search.scores import Scores
from nnstudy.training import Record

values = st.lists(st.floats(allow_infinity=True, allow_nan=True), min_size=1, max_size=12)


def scores_of(
    curve: list[float], direction: Literal["minimize", "maximize"] = "minimize"
) -> Scores:
    scores = Scores("loss/valid", direction)
    for step, value in enumerate(curve, 1):
        added = scores.add(Record(step, step, values={"loss/valid": value, "lr": 9.0}))
        assert added == value or math.isnan(value)
    return scores


@given(curve=values, direction=st.sampled_from(["minimize", "maximize"]))
def test_the_best_is_the_first_of_the_best_numbers(
    curve: list[float], direction: Literal["minimize", "maximize"]
) -> None:
    scores = scores_of(curve, direction)
    numbers = [value for value in curve if not math.isnan(value)]
    assert scores.judged is not None
    assert scores.value is not None
    if numbers:
        best = min(numbers) if direction == "minimize" else max(numbers)
        assert (scores.value, scores.judged.step) == (best, curve.index(best) + 1)
    else:
        assert math.isnan(scores.value)


@given(curve=values)
def test_the_latest_counts_where_each_is_a_mean_over_more(curve: list[float]) -> None:
    scores = Scores("loss/valid", "minimize", "latest")
    for step, value in enumerate(curve, 1):
        scores.add(Record(step, step, values={"loss/valid": value}))
        assert scores.judged is not None
        assert scores.judged.step == step


def test_nothing_is_best_before_the_first_validation() -> None:
    assert Scores("loss/valid", "minimize").value is None


def test_a_metric_that_no_epoch_has_is_named_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"'f1/valid'.*: loss/valid, lr\. Set Study\(metric"):
        Scores("f1/valid", "maximize").add(Record(1, 1, values={"lr": 1.0, "loss/valid": 2.0}))
