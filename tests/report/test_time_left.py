from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudy.report import time_left

seconds = st.floats(0.001, 1e5)


def test_finished_takes_no_time() -> None:
    assert time_left([3.0], [], 0, 2) == 0.0


def test_nothing_is_known_before_the_first_trial_or_without_workers() -> None:
    assert time_left([], [1.0], 5, 1) is None
    assert time_left([2.0], [], 5, 0) is None


def test_what_is_done_of_running_trials_is_taken_off() -> None:
    # Ten seconds a trial: 4 s left of one, none of the late one, and two that have not begun.
    assert time_left([8.0, 12.0], [6.0, 15.0], 4, 2) == pytest.approx((4 + 0 + 20) / 2)


@given(st.lists(seconds, min_size=1), st.integers(1, 1000), st.integers(1, 64))
def test_more_workers_are_never_slower_and_more_trials_never_quicker(
    durations: list[float], remaining: int, workers: int
) -> None:
    now = time_left(durations, [], remaining, workers)
    more_workers = time_left(durations, [], remaining, workers + 1)
    more_trials = time_left(durations, [], remaining + 1, workers)
    assert now is not None
    assert more_workers is not None
    assert more_trials is not None
    assert more_workers <= now <= more_trials * (1 + 1e-9)


@given(st.lists(seconds, min_size=1), st.lists(seconds, max_size=8), st.integers(0, 1000))
def test_it_lies_between_nothing_and_all_remaining_trials_from_the_start(
    durations: list[float], ages: list[float], more: int
) -> None:
    remaining = len(ages) + more
    left = time_left(durations, ages, remaining, 1)
    assert left is not None
    mean = sum(durations) / len(durations)
    assert 0 <= left <= remaining * mean * (1 + 1e-9)
