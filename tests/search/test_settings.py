"""Settings of a process."""

from __future__ import annotations

from typing import Any

import pytest

from nnstudy.errors import UserError
from nnstudy.search.settings import Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [("keep_best", 0), ("keep_every", -1), ("threads", 0), ("lease_seconds", 0.0)],
)
def test_settings_that_cannot_be_meant_are_refused_before_any_trial(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"Settings\({name}=...\) must be .* got {value}"):
        Settings(**{name: value})
