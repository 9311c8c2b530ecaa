from __future__ import annotations

import time
from functools import partial

from nnstudy.ensembles.timing import time_in_turns


def test_what_takes_longer_has_the_greater_time_in_every_round():
    times = time_in_turns(partial(time.sleep, 0.001), partial(time.sleep, 0.02))
    assert times.one >= 0.001
    assert times.other >= 0.02
    assert times.ratio > 2
