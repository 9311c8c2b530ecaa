"""``nnstudy lr-find``: which learning rates to search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnstudy.cli import words
from nnstudy.cli.options import (
    complete_study,
    data_dir_option,
    device_option,
    download_option,
    json_option,
    key_values,
)

if TYPE_CHECKING:
    from nnstudy.diagnostics import RangeTest
    from nnstudy.engines.learning_rates import LearningRates

# Edges that are further apart than that are worth a word.
FACTOR = 3.0
_RATE = click.FloatRange(0, min_open=True)


@click.command(
    "lr-find",
    short_help="Test which learning rates to search.",
    epilog="""
\b
Examples:
  nnstudy lr-find digits
  nnstudy lr-find studies/mine.py --set units=64 --seeds 5 --output rates.png
""",
)
@click.argument("study", shell_complete=complete_study)
@click.option(
    "--set",
    "point",
    multiple=True,
    callback=key_values,
    metavar="KEY=VALUE",
    help="Value of a parameter. Default: the study's start, else the middle of its range."
    " May be repeated.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="N",
    help="Tests, each with weights and minibatches of its own.",
)
@click.option(
    "--low", type=_RATE, default=1e-5, show_default=True, metavar="RATE", help="The lowest rate."
)
@click.option(
    "--high", type=_RATE, default=10.0, show_default=True, metavar="RATE", help="The highest rate."
)
@click.option(
    "--steps",
    type=click.IntRange(min=2),
    default=400,
    show_default=True,
    metavar="N",
    help="Minibatches of each test.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PNG",
    help="Where to draw the loss against the rate. Default: NAME-rates.png",
)
@data_dir_option
@download_option
@device_option
@json_option
def lr_find(
    study: str,
    *,
    point: Mapping[str, Any],
    seeds: int,
    low: float,
    high: float,
    steps: int,
    output: Path | None,
    data_dir: Path | None,
    download: bool,
    device: str,
    as_json: bool,
) -> None:
    """Test which learning rates to search in the study STUDY.

    Trains a few hundred minibatches while the rate grows (Smith's range test), at one point of
    the space, and tells from where to where the loss falls. Nothing is stored but the picture.
    """
    from nnstudy.diagnostics.range_picture import draw_range_tests, require_writable
    from nnstudy.engines.learning_rates import RangeOptions, find_learning_rates

    if output is not None:
        require_writable(output)

    def each(seed: int, test: RangeTest) -> None:
        if not as_json:
            click.echo(_told(seed, test))

    options = RangeOptions(point, seeds, low, high, steps, data_dir, download, device)
    found = find_learning_rates(study, options, each)
    output = output or Path(f"{found.study}-rates.png")
    draw_range_tests(
        found.tests,
        found.suggestion,
        output,
        title=f"{found.study}: {found.optimizer}",
        asked=(found.asked.low, found.asked.high) if found.asked else None,
    )
    if as_json:
        click.echo(json.dumps({**_fields(found), "picture": str(output)}))
    else:
        click.echo("\n".join([*_lines(found), f"picture: {output}"]))


def _told(seed: int, test: RangeTest) -> str:
    from nnstudy.diagnostics import find_interval

    interval = find_interval(test)
    if interval is None:
        return f"seed {seed}: the loss does not fall"
    end = "explodes at" if test.exploded else "tested up to"
    return (
        f"seed {seed}: falls from {interval.low:.2g} to {interval.high:.2g}, fastest at"
        f" {interval.steepest:.2g}; {end} {test.rates[-1]:.2g}"
    )


def _lines(found: LearningRates) -> list[str]:
    from nnstudy.diagnostics import why_none

    lines = [f"{found.study}, {found.optimizer} with {words.parameters(found.params)}"]
    suggestion = found.suggestion
    if suggestion is None:
        return [*lines, why_none(found.tests)]
    name = found.parameter or "lr"
    lines += [
        f"to search: {suggestion.low:g} to {suggestion.high:g}, beginning with"
        f" {suggestion.start:.2g}",
        f'  lr = trial.suggest_float("{name}", {suggestion.low:g}, {suggestion.high:g}, log=True)',
    ]
    if any(interval and interval.falls_at_once for interval in suggestion.intervals):
        lines.append("the loss falls at the lowest rate already: give a lower --low")
    if any(interval and interval.falls_on for interval in suggestion.intervals):
        lines.append("the loss still falls at the highest rate: give a higher --high")
    return [*lines, _compared(found)]


def _compared(found: LearningRates) -> str:
    if found.asked is None or found.suggestion is None:
        return "no parameter of the recipe has the rate's value, so there is no range to compare"
    (low, high), new = (found.asked.low, found.asked.high), found.suggestion
    differences = [
        *([f"leaves out {new.low:g} to {low:g}"] if low > FACTOR * new.low else []),
        *([f"leaves out {high:g} to {new.high:g}"] if FACTOR * high < new.high else []),
        *(["goes further down"] if FACTOR * low < new.low else []),
        *(["goes further up"] if high > FACTOR * new.high else []),
    ]
    told = f"the recipe's range today, {low:g} to {high:g}, {' and '.join(differences) or 'is about that'}"
    linear = "; it is searched on a linear scale, but rates act by factors: say log=True"
    return told if found.asked.log else told + linear


def _fields(found: LearningRates) -> dict[str, Any]:
    from dataclasses import asdict

    asked = found.asked
    return {
        "study": found.study,
        "params": found.params,
        "optimizer": found.optimizer,
        "suggestion": asdict(found.suggestion) if found.suggestion else None,
        "parameter": found.parameter,
        "asked": {"low": asked.low, "high": asked.high, "log": asked.log} if asked else None,
        "tests": [asdict(test) for test in found.tests],
    }
