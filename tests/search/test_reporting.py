"""After which validations a trial reports."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from nnstudy.search.reporting import is_reported


def reported(last: int) -> list[int]:
    return [step for step in range(1, last + 1) if is_reported(step, last)]


@given(last=st.integers(1, 2000))
def test_the_first_five_and_the_last_are_reported(last: int) -> None:
    steps = reported(last)
    assert steps[: min(5, last)] == list(range(1, min(5, last) + 1))
    assert steps[-1] == last


@given(last=st.integers(6, 2000))
def test_between_two_reports_a_training_grows_by_a_fifth_or_by_one_step(last: int) -> None:
    steps = reported(last)[:-1]
    for earlier, later in pairwise(steps[5:]):
        assert later - earlier == 1 or later <= 1.2 * earlier + 1


@given(step=st.integers(1, 500), lasts=st.tuples(st.integers(501, 900), st.integers(501, 900)))
def test_trials_of_different_lengths_report_at_the_same_steps(
    step: int, lasts: tuple[int, int]
) -> None:
    assert is_reported(step, lasts[0]) == is_reported(step, lasts[1])


def test_a_thousand_epochs_are_some_thirty_reports() -> None:
    assert len(reported(1000)) < 40
