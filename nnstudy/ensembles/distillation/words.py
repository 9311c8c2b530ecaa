"""What a distillation tells, in words and as tables."""

from __future__ import annotations

from collections.abc import Iterator

from nnstudy.ensembles.cross_fitting import FOLDS
from nnstudy.ensembles.distillation.outcome import ENSEMBLE, STUDENT, Distillation, Kept
from nnstudy.ensembles.measures import Interval
from nnstudy.ensembles.words import HEADINGS, cells, cost_table, number, table
from nnstudy.search.distillation.lesson import MIX, TEMPERATURE

_NLL = "negative log-likelihood"


def conclusion(found: Distillation) -> str:
    """Returns in a sentence how much of the ensemble's gain one network keeps, at what speed."""
    gains = {_NLL: found.nll_gain, _measure(found): found.gain}
    kept = [f"{_percent(g.share)} in {measure}" for measure, g in gains.items() if g.share]
    told = [f"it keeps of the ensemble's gain {' and '.join(kept)}"] if kept else []
    if worse := [measure for measure, gain in gains.items() if gain.ensemble.high < 0]:
        told.append(f"the ensemble is worse than the single best in {' and '.join(worse)}")
    if none := [
        measure for measure, gain in gains.items() if gain.share is None and measure not in worse
    ]:
        told.append(f"the ensemble's gain in {' and '.join(none)} cannot be told from none")
    return (
        f"one network in place of {found.members}: {'; '.join(told)}; it answers one example"
        f" {found.costs.latency_ratio:.2g} times as fast"
    )


def rows(found: Distillation) -> list[tuple[str, ...]]:
    """Returns the headings and a row for each kind of network."""
    headings = HEADINGS[found.is_of_classes]
    return [headings, *((name, *cells(row, headings)) for name, row in found.rows.items())]


def cost_rows(found: Distillation) -> list[tuple[str, ...]]:
    """Returns the headings and what the answers of student and ensemble cost."""
    return cost_table({STUDENT: found.costs.single, ENSEMBLE: found.costs.ensemble})


def student_rows(found: Distillation) -> list[tuple[str, ...]]:
    """Returns the headings and a row for each student, the best on the validation part first."""
    names = [name for name in (MIX, TEMPERATURE) if name in found.student.params]
    headings = ("student", found.plan.metric, *(name.removeprefix("distill_") for name in names))
    return [
        headings,
        *(
            (
                f"{found.plan.stage}/{one.number}",
                "" if one.value is None else number(one.value),
                *(number(one.params[name]) for name in names),
            )
            for one in found.students
        ),
    ]


def remarks(found: Distillation) -> list[str]:
    """Returns what else should be known, a sentence each."""
    lesson, costs = found.plan.lesson, found.costs
    return [
        f"the student is the best on the validation part of those that the ensemble taught; all have"
        f" the configuration of trial {lesson['trial']} of stage {lesson['stage']}",
        f"measured on the {found.examples} examples of the selection part, by {FOLDS} folds where"
        " something was chosen or fitted by it"
        + (", as the temperature of each row was" if found.is_of_classes else ""),
        _gains(found.nll_gain, _NLL),
        _gains(found.gain, _measure(found)),
        *_beside_hard(found),
        "intervals tell of other examples and not of other seeds: each student was trained once, all"
        " of them from the same weights",
        f"of {costs.batch} examples at once it answers {costs.batch_ratio:.2g} times as many a second"
        f" as the ensemble, on {costs.device}",
    ]


def markdown(found: Distillation) -> str:
    """Returns all of it for the note of the distillation's run."""
    lines = [f"Study **{found.plan.study}**: **{conclusion(found)}**.", ""]
    tables = {"Worth": rows(found), "Cost": cost_rows(found), "Students": student_rows(found)}
    for heading, one in tables.items():
        lines += [*table(one, heading), ""]
    return "\n".join([*lines, *(f"- {text[0].upper()}{text[1:]}." for text in remarks(found))])


def _measure(found: Distillation) -> str:
    return "accuracy" if found.is_of_classes else "squared error"


def _gains(gain: Kept, measure: str) -> str:
    return (
        f"over the single best, in {measure}: the ensemble gains {_told(gain.ensemble)}, the student"
        f" {_told(gain.student)}"
        + ("" if gain.hard is None else f", the labels alone {_told(gain.hard)}")
    )


def _beside_hard(found: Distillation) -> Iterator[str]:
    """Yields what the ensemble's teaching was worth, all else being equal."""
    over = found.nll_gain.over_hard
    if found.hard is None or over is None:
        yield "no student that learnt the labels alone completed its training to compare with"
        return
    yield (
        f"over the same network trained on the labels alone (trial {found.hard.number}) the student"
        f" gains {_told(over)} in {_NLL}"
    )
    first = found.students[0]
    if first.number == found.hard.number and first.value != found.student.value:
        yield "on the validation part that one is better"


def _percent(share: Interval) -> str:
    return f"{share.mean:.0%} ({share.low:.0%} to {share.high:.0%})"


def _told(gain: Interval) -> str:
    return f"{number(gain.mean)} ({number(gain.low)} to {number(gain.high)})"
