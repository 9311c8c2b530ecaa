"""One way in which Optuna, MLflow and the checkpoints of a study do not agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "away",
    "run",
    "curve",
    "stage run",
    "undelivered",
    "weights",
    "orphan",
    "lease",
    "waiting",
    "stranger",
]

_INFORMATION = ("waiting", "stranger")


@dataclass(frozen=True)
class Finding:
    """One way in which Optuna, MLflow and the checkpoints of a study do not agree.

    Attributes:
        kind: What it is about: a side is ``away``; a trial's ``run`` or ``curve``; a ``stage
            run``; something ``undelivered`` to MLflow; ``weights`` that cannot be had;
            ``orphan`` files; a ``lease``; a trial ``waiting`` to be taken over; a ``stranger``,
            which another database may know.
        stage: Name of the stage; empty where it is about the whole study.
        trial: Number of the trial, or None.
        text: What differs.
        fix: What ``repair`` does, in words; empty where nothing can be done from here.
        repair: Puts it right, under the stage's lock; None where nothing can be done.
    """

    kind: Kind
    stage: str
    trial: int | None
    text: str
    fix: str = ""
    repair: Callable[[], object] | None = field(default=None, compare=False, repr=False)

    @property
    def fixable(self) -> bool:
        """Whether it can be put right from here."""
        return self.repair is not None

    @property
    def is_difference(self) -> bool:
        """Whether it should be put right, as opposed to information."""
        return self.kind not in _INFORMATION

    def to_dict(self) -> dict[str, Any]:
        """Returns the finding as JSON-ready values."""
        return {
            "kind": self.kind,
            "stage": self.stage,
            "trial": self.trial,
            "text": self.text,
            "difference": self.is_difference,
            "fixable": self.fixable,
            "fix": self.fix,
        }
