"""A diagnosis, with what it rests on and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """What a rule has found.

    Attributes:
        evidence: In words, with the figures.
        figures: The figures by name, all finite.
    """

    evidence: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """A diagnosis.

    Attributes:
        name: Of the rule: ``overfitting``.
        evidence: What the rule has found, in words.
        advice: What to try.
        figures: What the rule has found, by name, all finite.
    """

    name: str
    evidence: str
    advice: str
    figures: dict[str, float] = field(default_factory=dict)
