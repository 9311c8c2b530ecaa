"""A comparison by time, in words."""

from __future__ import annotations

from collections.abc import Iterator

from nnstudy.search.timing.comparison import Arm, Comparison


def conclusion(found: Comparison) -> str:
    """Returns the choice and what it rests on, in sentences."""
    chosen, best = found.chosen, found.best
    sentences = [
        f"{_named(found, chosen)} improves fastest: after {_seconds(chosen.reached)} its"
        f" {found.metric} is {found.target:.4g}, which {found.reaching} of {found.sizes} sizes come to"
    ]
    if best is not chosen:
        sentences.append(
            f"The best score, {best.best:.4g}, has {_named(found, best)}, in"
            f" {_seconds(best.seconds)}; {_named(found, chosen)} comes to {chosen.best:.4g} in"
            f" {_seconds(chosen.seconds)}"
        )
    if found.incomplete:
        sentences.append(f"{found.incomplete} more were not completed")
    if found.doubts:
        sentences.append(
            f"Seconds compare only among trials one at a time on one machine, and here"
            f" {' and '.join(found.doubts)}: launch with one worker to be sure"
        )
    return ". ".join(sentences)


def markdown(found: Comparison) -> str:
    """Returns the choice with a line for each arm."""
    return "\n".join([f"{conclusion(found)}.", "", *_table(found)])


def _table(found: Comparison) -> Iterator[str]:
    rates = list(found.chosen.rates)
    yield (
        f"| {found.name} | {' | '.join(rates)} | scaled | seconds to {found.target:.4g} |"
        f" best within {found.meanwhile:.3g} s | best | seconds in all |"
    )
    yield "|" + " --- |" * (6 + len(rates))
    for arm in found.arms:
        yield (
            f"| {arm.size:g} | {' | '.join(f'{rate:.4g}' for rate in arm.rates.values())}"
            f" | {'yes' if arm.is_scaled else 'no'} | {_shown(arm.reached, 3)}"
            f" | {_shown(arm.meanwhile, 4)} | {arm.best:.4g} | {arm.seconds:.3g} |"
        )


def _named(found: Comparison, arm: Arm) -> str:
    rates = ", ".join(f"{name} {rate:.4g}" for name, rate in arm.rates.items())
    how = "scaled in proportion" if arm.is_scaled else "as it was"
    return f"{found.name} {arm.size:g} with {rates} ({how})"


def _seconds(seconds: float | None) -> str:
    return f"{_shown(seconds, 3)} s"


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}g}"
