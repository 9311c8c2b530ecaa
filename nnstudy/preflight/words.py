"""Values and points of the space as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def shown(params: Mapping[str, Any]) -> str:
    """Returns ``lr=0.05, units=64``; fractions with four digits that count."""
    return ", ".join(f"{name}={_value(value)}" for name, value in params.items()) or "any values"


def size(count: float) -> str:
    """Returns a number of bytes in powers of a thousand: ``512 bytes``, ``1.2 GB``."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {_UNITS[unit]}"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
