"""What a check found, in words and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from nnstudy.preflight.candidate import Candidate

Outcome = Literal["passed", "told", "warned", "failed", "skipped"]
"""``told`` is information without a judgement; ``skipped`` says why in ``found``."""

Kind = Literal["code", "configuration", "statistics"]
"""What a failure means for a launch.

One of ``code`` stops it. One of ``configuration`` is about the values of one sampled point, and
stops it only if no sampled point passes. One of ``statistics`` warns.
"""


@dataclass(frozen=True)
class Result:
    """What a check found.

    Attributes:
        check: Name of the check.
        kind: What a failure means.
        outcome: ``passed``, ``told``, ``warned``, ``failed`` or ``skipped``.
        found: What was measured against what was expected, with figures.
        advice: What usually causes a failure, and what to do; empty where nothing is wrong.
        figures: The same for machines, JSON-ready.
        params: The sampled values it was measured at; empty where it does not depend on them.
    """

    check: str
    kind: Kind
    outcome: Outcome
    found: str
    advice: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.check}: {self.found}" + (f"\n  -> {self.advice}" if self.advice else "")


@dataclass(frozen=True)
class Check:
    """A question that is put to a candidate.

    Attributes:
        name: A word or two, unique: ``gradient``, ``loss at chance``.
        kind: What a failure means.
        run: Answers it; one check may have several results.
    """

    name: str
    kind: Kind
    run: Callable[[Candidate], list[Result]]
