"""What a confirmation tells, in words and as a table."""

from __future__ import annotations

from collections.abc import Sequence

from nnstudy.search.confirmation.comparison import LEVEL, MOST_SEEDS, PROMISED, Difference, Summary
from nnstudy.search.confirmation.outcome import Confirmation

HEADINGS = ("trial", "mean", "deviation", "95 % interval", "in the search", "behind the first")


def conclusion(found: Confirmation) -> str:
    """Returns in a sentence which configuration is best, or that this cannot be told."""
    comparison, chosen = found.comparison, found.selection.configurations
    first = comparison.first
    if not found.is_complete:
        done = sum(trial.state.is_finished() for trial in found.trainings.values())
        return f"{done} of {len(chosen) * found.selection.seeds} trainings are finished"
    if first is None:
        return "no configuration has come through all its trainings, so none can be called best"
    if not comparison.differences:
        return (
            f"trial {chosen[first.index].trial} reaches {_score(first.mean)} with"
            f" {first.seeds} seeds; there is nothing to compare it with"
        )
    second = comparison.differences[0]
    if comparison.is_decided:
        others = len(comparison.differences) - 1
        more = f" and {others} more" if others else ""
        means = {summary.index: summary.mean for summary in comparison.ranked}
        return (
            f"trial {chosen[first.index].trial} is better than trial"
            f" {chosen[second.index].trial}{more}: {_score(first.mean)} against"
            f" {_score(means[second.index])}, {_difference(second)}, {first.seeds} seeds"
        )
    trials = [str(chosen[index].trial) for index in comparison.candidates]
    return (
        f"which of trials {', '.join(trials[:-1])} and {trials[-1]} is best cannot be told: trial"
        f" {chosen[first.index].trial} is ahead of trial {chosen[second.index].trial} by"
        f" {_number(second.mean)} {_interval(second.interval)} with {first.seeds} seeds;"
        f" {_needed(comparison.differences)}"
    )


def remarks(found: Confirmation) -> list[str]:
    """Returns what else should be known, a sentence each."""
    said = []
    for summary in found.comparison.ranked:
        configuration = found.selection.configurations[summary.index]
        if found.is_complete and (reasons := found.failures(configuration)):
            said.append(
                f"trial {configuration.trial} cannot be called best: {len(reasons)} of"
                f" {found.selection.seeds} trainings did not complete ({reasons[0]})"
            )
    if found.is_complete and found.earlier:
        seeds = " and ".join(map(str, found.earlier))
        said.append(
            f"a result was told with {seeds} seeds before: where seeds are added until one wins,"
            f" more than {PROMISED:.0%} of such winners are wrong"
        )
    return said


def rows(found: Confirmation) -> list[tuple[str, ...]]:
    """Returns a row for each configuration, best mean first, below ``HEADINGS``."""
    differences = {one.index: one for one in found.comparison.differences}
    return [
        _row(found, summary, differences.get(summary.index)) for summary in found.comparison.ranked
    ]


def markdown(found: Confirmation) -> str:
    """Returns all of it for the note of the confirmation's run."""
    chosen, seeds = found.selection.configurations, found.selection.seeds
    names = sorted({name for configuration in chosen for name in configuration.params})
    titles = [*HEADINGS, *names]
    lines = [
        f"The best {len(chosen)} configurations of stage **{found.selection.source}** of study"
        f" **{found.plan.study}**, trained again with {seeds} seeds each, by"
        f" {found.plan.metric}: **{conclusion(found)}**.",
        *(f"\n*{remark[0].upper()}{remark[1:]}.*" for remark in remarks(found)),
        "",
        f"| {' | '.join(titles)} |",
        "|" + " --- |" * len(titles),
    ]
    for summary, row in zip(found.comparison.ranked, rows(found), strict=True):
        params = chosen[summary.index].params
        cells = [*row, *(_value(params.get(name)) for name in names)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Differences are paired by seed, with intervals of {1 - LEVEL:.1%}."]
    return "\n".join(lines)


def _row(found: Confirmation, summary: Summary, behind: Difference | None) -> tuple[str, ...]:
    configuration = found.selection.configurations[summary.index]
    return (
        str(configuration.trial),
        _score(summary.mean),
        "-" if summary.deviation is None else f"{summary.deviation:.2g}",
        "-" if summary.interval is None else _span(summary.interval),
        _score(configuration.value),
        "-" if behind is None else f"{_number(behind.mean)} {_interval(behind.interval)}",
    )


def _needed(differences: Sequence[Difference]) -> str:
    needed = [one.seeds_needed for one in differences if not one.beaten]
    if any(seeds is None for seeds in needed):
        return f"even {MOST_SEEDS:,} seeds might not be enough"
    return f"about {max(seeds or 0 for seeds in needed)} seeds would be needed"


def _difference(difference: Difference) -> str:
    return f"difference {_number(difference.mean)} {_interval(difference.interval)}"


def _interval(interval: tuple[float, float]) -> str:
    return f"({_span(interval)})"


def _span(interval: tuple[float, float]) -> str:
    return f"{_number(interval[0])} to {_number(interval[1])}"


def _number(value: float) -> str:
    return f"{value:.4f}" if 1e-3 <= abs(value) < 10 else f"{value:.3g}"


def _score(value: float | None) -> str:
    return "-" if value is None else _number(value)


def _value(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
