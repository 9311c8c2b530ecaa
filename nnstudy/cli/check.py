"""``nnstudy check``: the checks that a launch makes before it begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnstudy.cli import words
from nnstudy.cli.exit_codes import BAD_INPUT
from nnstudy.cli.launch_fields import check_fields
from nnstudy.cli.launch_options import check_options
from nnstudy.cli.options import Duration, complete_study, json_option
from nnstudy.cli.topics import TopicCommand

if TYPE_CHECKING:
    from nnstudy.preflight import Report
    from nnstudy.search.events import Event

_COLOURS = {"passed": "green", "told": None, "warned": "yellow", "failed": "red", "skipped": "cyan"}
_OUTCOME = max(map(len, _COLOURS)) + 2
_CHECK = 24
_MARGIN = _OUTCOME + _CHECK


@click.command(
    short_help="Check a study before any budget is spent.",
    cls=TopicCommand,
    epilog="""
\b
Examples:
  nnstudy check digits
  nnstudy check studies/mine.py --output checked    with a picture of examples
  nnstudy check mnist_cnn --timeout 5m              begin checks for longer than 20 seconds
""",
)
@click.argument("study", shell_complete=complete_study)
@check_options
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many are to share the memory. Default: one for each core.",
)
@click.option(
    "--timeout",
    type=Duration(),
    default="20s",
    show_default=True,
    metavar="TIME",
    help="Begin no check after so long.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write the report and a picture of examples there.",
)
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    /,
    study: str,
    *,
    workers: int | None,
    timeout: float,
    output: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Check the study STUDY as a launch does before it begins. Nothing is stored of it.

    Gradients, losses, labels, the space and more, at a few points of the space. What passes is
    not checked again by a launch until the study file or the data change. The exit code is 2
    where something would stop a launch.
    """
    from nnstudy import engines

    report = engines.check(
        study,
        budget=timeout,
        output=output,
        emit=(lambda event: None) if as_json else _show,
        workers=workers,
        **check_fields(given),
    )
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        click.echo(_summary(report))
    if not report.passed:
        ctx.exit(BAD_INPUT)


def _show(event: Event) -> None:
    """Prints a result as a row, and what to do about it below."""
    if event.kind == "warning":
        click.echo(f"Warning: {event.values['text']}", err=True)
    if event.kind != "check":
        return
    outcome, found, advice = (event.values[name] for name in ("outcome", "found", "advice"))
    click.secho(f"{outcome:<{_OUTCOME}}", fg=_COLOURS[outcome], nl=False)
    click.echo(f"{event.values['check']:<{_CHECK}}" + words.hanging(found, _MARGIN))
    if advice:
        click.echo(" " * _MARGIN + words.hanging(f"-> {advice}", _MARGIN))


def _summary(report: Report) -> str:
    points = (
        "1 sampled point" if len(report.points) == 1 else f"{len(report.points)} sampled points"
    )
    verdict = "" if report.passed else "; a launch would stop here"
    took = words.duration(report.seconds)
    return f"{report.study}: {report.counted()}, at {points} in {took}{verdict}"
