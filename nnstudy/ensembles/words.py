"""What is told of an ensemble, in words and as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nnstudy.ensembles.candidates import Candidate
from nnstudy.ensembles.cost import Cost
from nnstudy.ensembles.cross_fitting import FOLDS
from nnstudy.ensembles.ensemble import SUREST, Ensemble
from nnstudy.ensembles.look import TakenLook
from nnstudy.ensembles.measures import ClassificationMeasures, Interval, Measures

HEADINGS = {
    True: ("", "accuracy", "95 % interval", "nll", "brier", "ece"),
    False: ("", "mse", "95 % interval", "nll", "mae", "r2"),
}
"""Of classes, and of numbers."""

_OF_COSTS = ("", "parameters", "size", "one example", "examples/s")
_OF_CLASSES = ("class", "precision", "recall", "f1", "examples")
_OF_MEMBERS = ("member", "from", "counts", "on validation", "parameters")
_WORST_TOLD, _WORST_NOTED = 3, 10


def conclusion(ensemble: Ensemble) -> str:
    """Returns in a sentence what the ensemble is worth beside the single best network."""
    compared, count = ensemble.comparison, len(ensemble.members)
    networks = f"{count} networks" if count > 1 else "1 network"
    what = "accuracy" if is_of_classes(ensemble) else "squared error"
    return (
        f"an ensemble of {networks} {_verdict(compared.nll_gain)} the single best: it gains"
        f" {_told(compared.nll_gain)} in negative log-likelihood, {_told(compared.gain)} in {what}"
    )


def rows(ensemble: Ensemble) -> list[tuple[str, ...]]:
    """Returns the headings and a row for each thing that was measured."""
    compared = ensemble.comparison
    headings = HEADINGS[is_of_classes(ensemble)]
    mean = compared.mean_member
    average = (
        "mean member",
        number(mean[headings[1]]),
        "",
        *(number(mean[name]) for name in headings[3:]),
    )
    told = [(name, *cells(row, headings)) for name, row in compared.rows.items()]
    # Single networks first, then what they are together.
    place = next(n for n, row in enumerate(told) if row[0].startswith("ensemble"))
    return [headings, *told[:place], average, *told[place:]]


def way_rows(ensemble: Ensemble) -> list[tuple[str, ...]]:
    """Returns the headings and a row for each other way to make an ensemble of the candidates."""
    headings = HEADINGS[is_of_classes(ensemble)]
    told = {"as asked": ensemble.comparison.final, **ensemble.ways}
    return [
        ("otherwise", *headings[1:]),
        *((name, *cells(row, headings)) for name, row in told.items()),
    ]


def is_of_classes(ensemble: Ensemble) -> bool:
    """Tells whether it answers with classes."""
    return ensemble.pool.answers.probabilities is not None


def remarks(ensemble: Ensemble) -> list[str]:
    """Returns what else should be known, a sentence each."""
    found = ensemble.diversity
    said = [
        f"measured on the {ensemble.pool.answers.examples} examples of the selection part by"
        f" {FOLDS} folds: whatever was chosen or fitted had not seen what it is measured on"
    ]
    wanted, there = ensemble.procedure.size, len(ensemble.procedure.among or ())
    if ensemble.pool.skipped and there < wanted:
        said.append(f"of {wanted} members that were wanted there are candidates for {there}")
    said.append(
        "the other ways are measured by the same folds; whoever takes one for what stands here has"
        " chosen by these examples, and its figures are a little too good then"
    )
    if found.disagreement is not None:
        together = (
            ""
            if found.error_correlation is None
            else f"; their errors correlate by {found.error_correlation:.2f}"
        )
        differ = (
            f"answer differently in {found.disagreement:.1%} of the examples"
            if is_of_classes(ensemble)
            else f"differ by {number(found.disagreement)} in squared distance"
        )
        said.append(f"two members {differ}{together}")
    said.append(_surety(ensemble))
    if worst := class_rows(ensemble, _WORST_TOLD)[1:]:
        named = ", ".join(f"{row[0]} (f1 {row[3]})" for row in worst)
        said.append(f"the classes it knows least: {named}")
    costs = ensemble.costs
    threads = "1 thread" if costs.threads == 1 else f"{costs.threads} threads"
    said.append(
        f"the ensemble takes {costs.latency_ratio:.2g} times as long as the single best for one"
        f" example and {costs.batch_ratio:.2g} times for {costs.batch} at once, on {costs.device}"
        + (f" with {threads}" if costs.device == "cpu" else "")
    )
    if ensemble.fitted.temperature != 1:
        said.append(f"temperature {ensemble.fitted.temperature:.3g}, fitted after combining")
    said += [f"left out: {one.candidate}: {one.reason}" for one in ensemble.pool.skipped]
    return said


def _surety(ensemble: Ensemble) -> str:
    found = ensemble.uncertainty
    error, least = found["error"], found["error_of_the_surest"]
    total, disagreement = number(found["total"]), number(found["disagreement"])
    if is_of_classes(ensemble):
        return (
            f"the entropy of an answer is {total} nats on average, its members' disagreement"
            f" {disagreement}; without the {1 - SUREST:.0%} it is least sure of {least:.2%} are wrong in place of {error:.2%}"
        )
    return (
        f"the variance of an answer is {total} on average, {disagreement} of it between members;"
        f" without the {1 - SUREST:.0%} it is least sure of their mse is {number(least)} in place of {number(error)}"
    )


def class_rows(ensemble: Ensemble, most: int) -> list[tuple[str, ...]]:
    """Returns the headings and a row for each class with examples, the worst known first.

    Args:
        ensemble: The ensemble; of numbers there are headings alone.
        most: Rows at most.
    """
    final = ensemble.comparison.final
    known = final.classes if isinstance(final, ClassificationMeasures) else ()
    named = [pair for pair in zip(ensemble.class_names, known, strict=True) if pair[1].support]
    named.sort(key=lambda pair: pair[1].f1)
    return [
        _OF_CLASSES,
        *(
            (name, *(f"{x:.3f}" for x in (one.precision, one.recall, one.f1)), str(one.support))
            for name, one in named[:most]
        ),
    ]


def cost_rows(ensemble: Ensemble) -> list[tuple[str, ...]]:
    """Returns the headings and what the answers of single best and ensemble cost."""
    costs = ensemble.costs
    return cost_table({"single best": costs.single, "ensemble": costs.ensemble})


def cost_table(costs: Mapping[str, Cost]) -> list[tuple[str, ...]]:
    """Returns the headings and what answers cost, by whose they are."""
    return [
        _OF_COSTS,
        *(
            (
                name,
                f"{cost.parameters:,}",
                f"{cost.bytes / 1e6:,.3g} MB",
                f"{cost.latency * 1e3:.3g} ms",
                f"{cost.throughput:,.0f}",
            )
            for name, cost in costs.items()
        ),
    ]


def member_rows(ensemble: Ensemble) -> list[tuple[str, ...]]:
    """Returns the headings and a row for each member, the one that counts most first."""
    weights = ensemble.fitted.weights[ensemble.indices]
    members = zip(ensemble.members, weights, strict=True)
    return [_OF_MEMBERS, *(_member_row(one, float(weight)) for one, weight in members)]


def _member_row(member: Candidate, weight: float) -> tuple[str, ...]:
    return (
        str(member),
        ", ".join(member.sources),
        f"{weight:.1%}",
        "" if math.isnan(member.value) else number(member.value),
        ", ".join(f"{name}={_value(value)}" for name, value in member.trial.params.items()),
    )


def sentence_of(look: TakenLook, ensemble: Ensemble) -> str:
    """Returns what was seen of the test part, and whether it was of this ensemble."""
    told = "; ".join(
        f"{name}: " + ", ".join(f"{key} {number(value)}" for key, value in numbers.items())
        for name, numbers in look.numbers.items()
    )
    text = f"on the test part: {told}"
    if look.digest != ensemble.digest:
        text += (
            f". That was another ensemble, on {look.when[:10]}; the test part is not looked at"
            " again, since a second look would be chosen by the first one"
        )
    return text


def markdown(ensemble: Ensemble, look: TakenLook | None, experiment_id: str) -> str:
    """Returns all of it for the note of the ensemble's run.

    Args:
        ensemble: The ensemble.
        look: At the test part, if there was one.
        experiment_id: Of the study in MLflow, for links to the members' runs.
    """
    procedure, classes = ensemble.procedure, class_rows(ensemble, _WORST_NOTED)
    lines = [
        f"Study **{ensemble.plan.study}**: **{conclusion(ensemble)}**.",
        "",
        f"Of {len(ensemble.pool.candidates)} candidates (`{', '.join(ensemble.sources)}`), by"
        f" `{procedure.select}`, combined by `{procedure.combination}`.",
        "",
        *table(rows(ensemble), "Worth"),
        "",
        *table(way_rows(ensemble), "Other ways"),
        "",
        *table(cost_rows(ensemble), "Cost"),
        "",
        *([*table(classes, "Classes, the least known first"), ""] if len(classes) > 1 else []),
        *(f"- {remark[0].upper()}{remark[1:]}." for remark in remarks(ensemble)),
        *([f"- {(text := sentence_of(look, ensemble))[0].upper()}{text[1:]}."] if look else []),
        "",
    ]
    headings, *members = member_rows(ensemble)
    linked = []
    for member, row in zip(ensemble.members, members, strict=True):
        run_id = member.describe()["run_id"]
        name = f"[{row[0]}](#/experiments/{experiment_id}/runs/{run_id})" if run_id else row[0]
        linked.append((name, *row[1:]))
    return "\n".join([*lines, *table([headings, *linked], "Members")])


def table(rows: list[tuple[str, ...]], title: str) -> list[str]:
    """Returns a title, headings and rows as lines of Markdown."""
    # MLflow's pages have no space between tables: without titles several look like one.
    headings, *others = [f"| {' | '.join(row)} |" for row in rows]
    return [f"**{title}**", "", headings, "|" + " --- |" * len(rows[0]), *others]


def cells(row: Measures, headings: tuple[str, ...]) -> list[str]:
    """Returns what stands under ``HEADINGS``, but for the name."""
    numbers, interval = row.numbers, row.interval
    return [
        number(interval.mean),
        f"{number(interval.low)} to {number(interval.high)}",
        *(number(numbers[name]) for name in headings[3:]),
    ]


def _verdict(gain: Interval) -> str:
    if gain.low > 0:
        return "is better than"
    if gain.high < 0:
        return "is worse than"
    return "cannot be told from"


def _told(gain: Interval) -> str:
    return f"{number(gain.mean)} ({number(gain.low)} to {number(gain.high)})"


def number(value: float) -> str:
    """Returns a number as tables and sentences have it."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 10 else f"{value:.3g}"


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
