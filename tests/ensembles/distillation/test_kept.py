from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudy.ensembles.answers import Array
from nnstudy.ensembles.distillation.outcome import ENSEMBLE, HARD, SINGLE_BEST, STUDENT, Kept
from nnstudy.ensembles.measures import Interval


def worth(gain: float, share: float, *, noise: float, seed: int = 0) -> dict[str, Array]:
    """What 400 examples are worth where the ensemble gains something and the student a share."""
    generator = np.random.default_rng(seed)
    single = generator.normal(size=400)
    gains = gain + noise * generator.normal(size=400)
    return {
        SINGLE_BEST: single,
        ENSEMBLE: single + gains,
        STUDENT: single + share * gains,
        HARD: single,
    }


@settings(max_examples=20, deadline=None)
@given(share=st.floats(-0.5, 1.5), seed=st.integers(0, 100))
def test_a_student_that_gains_a_share_everywhere_keeps_exactly_that(
    share: float, seed: int
) -> None:
    kept = Kept.of(worth(1.0, share, noise=0.5, seed=seed))
    assert kept.share is not None
    assert kept.share.mean == pytest.approx(share, abs=1e-9)
    assert (kept.share.low, kept.share.high) == pytest.approx((share, share), abs=1e-9)
    assert kept.over_hard == kept.student
    assert kept.hard == Interval(0.0, 0.0, 0.0)


@pytest.mark.parametrize("gain", [0.0, -1.0])
def test_no_share_is_told_of_a_gain_that_is_none(gain: float) -> None:
    kept = Kept.of(worth(gain, 0.8, noise=1.0, seed=3))
    assert kept.ensemble.low <= 0
    assert kept.share is None


def test_without_a_network_that_learnt_the_labels_alone_nothing_is_compared_with_it() -> None:
    both = worth(1.0, 0.5, noise=0.1)
    del both[HARD]
    kept = Kept.of(both)
    assert (kept.hard, kept.over_hard) == (None, None)


def test_the_interval_of_a_share_holds_it_nineteen_times_of_twenty() -> None:
    generator = np.random.default_rng(5)
    inside = 0
    for seed in range(200):
        gains = generator.normal(1.0, 2.0, size=300)
        student = 0.7 * gains + generator.normal(0.0, 1.0, size=300)
        found = Interval.of_ratio(student, gains, seed)
        inside += found.low <= 0.7 <= found.high
    assert 0.90 <= inside / 200 <= 0.99
