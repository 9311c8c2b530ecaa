"""What all checks of a study found, and what follows from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nnstudy.errors import UserError
from nnstudy.preflight.result import Outcome, Result
from nnstudy.preflight.words import shown

SCHEMA_VERSION = 1

_WORST_FIRST: tuple[Outcome, ...] = ("failed", "warned", "passed", "told", "skipped")


@dataclass(frozen=True)
class Report:
    """What all checks of a study found.

    Attributes:
        study: Name of the study.
        points: The sampled values at which it was checked.
        results: What was found, in the order of the checks; one that is ``failed`` stops a
            launch.
        made: When, in ISO 8601.
        seconds: How long it took.
    """

    study: str
    points: tuple[Mapping[str, Any], ...]
    results: tuple[Result, ...]
    made: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing stops a launch."""
        return not self.of("failed")

    def of(self, outcome: Outcome) -> list[Result]:
        """Returns the results with an outcome."""
        return [result for result in self.results if result.outcome == outcome]

    def counted(self) -> str:
        """Returns ``12 passed, 1 warned``."""
        counts = Counter(result.outcome for result in self.results)
        return ", ".join(f"{counts[name]} {name}" for name in _WORST_FIRST if counts[name])

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON-ready values."""
        return {"version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Report:
        """Makes the report that ``to_dict`` gave.

        Raises:
            UserError: If it was made by another version of this package.
        """
        if fields["version"] != SCHEMA_VERSION:
            raise UserError(
                f"the report has version {fields['version']}, this nnstudy knows {SCHEMA_VERSION}"
            )
        return cls(
            study=fields["study"],
            points=tuple(fields["points"]),
            results=tuple(Result(**result) for result in fields["results"]),
            made=fields["made"],
            seconds=fields["seconds"],
        )

    def to_markdown(self) -> str:
        """Returns the report as a table, with the advice below it."""
        lines = [
            f"# Pre-flight checks of {self.study}",
            "",
            f"{self.counted()}, in {self.seconds:.1f} s on {self.made}.",
            "",
            "| | Check | Found |",
            "| --- | --- | --- |",
            *(f"| {r.outcome} | {r.check} | {_cell(r.found)} |" for r in self.results),
        ]
        advice = [f"- **{r.check}**: {r.advice}" for r in self.results if r.advice]
        points = [f"{number}. {shown(point)}" for number, point in enumerate(self.points, 1)]
        if advice:
            lines += ["", "## What to do", "", *advice]
        return "\n".join([*lines, "", "## Sampled points", "", *points, ""])


def judge(results: Sequence[Result]) -> list[Result]:
    """Returns what follows from a check's results at several points, one for each name.

    A failure of ``code`` at any point stays a failure. One of ``configuration`` becomes a
    warning where another point passes, since a space may hold bad choices on purpose; one of
    ``statistics`` always does.
    """
    names = dict.fromkeys(result.check for result in results)
    return [_judge_one([r for r in results if r.check == name]) for name in names]


def _judge_one(results: Sequence[Result]) -> Result:
    outcome = min((result.outcome for result in results), key=_WORST_FIRST.index)
    worst = [result for result in results if result.outcome == outcome]
    first = worst[0]
    # A check may have several things to say of one point.
    same = [result for result in worst if result.params == first.params]
    found = "; ".join(dict.fromkeys(result.found for result in same))
    advice = "; ".join(dict.fromkeys(result.advice for result in same if result.advice))
    points, bad = _points(results), _points(worst)
    if outcome in ("failed", "warned") and len(bad) < len(points):
        named = " | ".join(map(shown, bad))
        found += f" (at {len(bad)} of {len(points)} sampled points: {named})"
    if outcome == "failed" and not _stops(results):
        outcome = "warned"
    return replace(first, outcome=outcome, found=found, advice=advice)


def _stops(results: Sequence[Result]) -> bool:
    failed = [result for result in results if result.outcome == "failed"]
    if any(result.kind == "code" for result in failed):
        return True
    good = _points([r for r in results if r.outcome != "skipped"], besides=_points(failed))
    return any(result.kind == "configuration" for result in failed) and not good


def _points(
    results: Sequence[Result], besides: Sequence[Mapping[str, Any]] = ()
) -> list[Mapping[str, Any]]:
    points: list[Mapping[str, Any]] = []
    for result in results:
        if result.params not in points and result.params not in besides:
            points.append(result.params)
    return points


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")
