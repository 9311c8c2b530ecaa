"""One thing that a study needs, and whether it is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Check:
    """What came of looking at one thing that a study needs.

    Attributes:
        what: The thing, in a word or two.
        verdict: ``ok``; ``warning``: a study would run, but not as it should; ``problem``: it
            would not.
        text: What was found.
        cure: What to do about it; empty where nothing needs to be done.
    """

    what: str
    verdict: Verdict
    text: str
    cure: str = ""


def ok(what: str, text: str) -> Check:
    """Something that is as it should be."""
    return Check(what, "ok", text)


def warning(what: str, text: str, cure: str) -> Check:
    """Something with which a study would run, but not as it should."""
    return Check(what, "warning", text, cure)


def problem(what: str, text: str, cure: str = "") -> Check:
    """Something with which no study would run."""
    return Check(what, "problem", text, cure)
