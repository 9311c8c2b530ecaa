"""Studies and where they come from.

``Study`` and ``Stage`` are imported when first used: the shell's completion of study names
needs ``discovery`` alone, and no PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnstudy.study.stage import Stage as Stage
    from nnstudy.study.study import Direction as Direction
    from nnstudy.study.study import Study as Study

__all__ = ["Direction", "Stage", "Study"]

_HOMES = {"Direction": "study", "Stage": "stage", "Study": "study"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
