"""What a study refuses as soon as it is written down."""

from __future__ import annotations

import math
from typing import Any

import pytest

from nnstudy import Study, datasets
from nnstudy.errors import UserError


def study(limits: Any) -> Study:
    return Study("mine", lambda trial, data: [], data=datasets.digits, limits=limits)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ([("dropout", 0, 0.95)], "must map parameters to pairs"),
        ({"dropout": 0.95}, r"limits\['dropout'\] must be a pair of numbers.*got 0.95"),
        ({"dropout": (0,)}, "must be a pair of numbers"),
        ({"dropout": (0, "1")}, "must be a pair of numbers"),
        ({"dropout": (False, True)}, "must be a pair of numbers"),
        ({"dropout": (0, math.nan)}, "must be a pair of numbers"),
        ({"dropout": (0.5, 0.5)}, "the first must be below the second, got 0.5 and 0.5"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(limits: Any, said: str) -> None:
    with pytest.raises(UserError, match=f"Study 'mine': .*{said}"):
        study(limits)


def test_either_end_of_a_limit_may_be_open() -> None:
    given = {"dropout": [0, 0.95], "depth": (1, None), "lr": (None, 10.0), "free": (None, None)}
    assert study(given).limits == {name: tuple(limit) for name, limit in given.items()}
