"""``nnstudy importance``: which hyperparameters mattered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnstudy.cli import words
from nnstudy.cli.options import complete_study, json_option, storage_option

if TYPE_CHECKING:
    from nnstudy.report.importance import StageReport
    from nnstudy.search.importance import EvaluatorName

EVALUATORS = ("ped-anova", "fanova", "mean-decrease-impurity")


@click.command(
    short_help="Tell which hyperparameters mattered.",
    epilog="""
\b
Examples:
  nnstudy importance digits
  nnstudy importance digits --stage fine --output pictures
""",
)
@click.argument("name", shell_complete=complete_study)
@click.option("--stage", metavar="STAGE", help="One stage. Default: all of them.")
@click.option(
    "--evaluator",
    type=click.Choice(EVALUATORS),
    default="ped-anova",
    show_default=True,
    help="What measures importance.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write tables and pictures there, in a folder for each stage.",
)
@storage_option
@json_option
def importance(
    name: str,
    *,
    stage: str | None,
    evaluator: EvaluatorName,
    output: Path | None,
    storage: str | None,
    as_json: bool,
) -> None:
    """Tell which hyperparameters mattered in the stored study NAME.

    For each stage the importance of each parameter beside what chance would give, and whether the
    two strongest act together. With --output there are pictures: each parameter against the
    value, and the two strongest.
    """
    from nnstudy.report.importance import study_importance
    from nnstudy.search.storage import open_storage, storage_url

    reports = study_importance(
        open_storage(storage_url(storage), create=False),
        name,
        stage=stage,
        evaluator=evaluator,
        output=output,
    )
    if as_json:
        click.echo(json.dumps([_fields(report) for report in reports], indent=2))
    else:
        click.echo("\n\n".join(_told(report) for report in reports))


def _told(report: StageReport) -> str:
    from nnstudy.search.importance.words import (
        HEADING,
        group_title,
        headline,
        interaction_words,
        rows,
    )

    found = report.importance
    lines = [f"{found.study}/{found.stage}: {headline(found) or 'nothing to be said'}"]
    for group in found.groups:
        if len(found.groups) > 1:
            lines.append(f"  {group_title(group)}:")
        table = words.columns([HEADING, *rows(found, group)])
        lines += [f"  {line}" for line in table.splitlines()]
    lines += [f"  {parameter}: {reason}" for parameter, reason in found.unsaid.items()]
    lines += [f"  {interaction_words(report.interaction)}"] if report.interaction else []
    lines += [f"  note: {words.hanging(warning, 8)}" for warning in found.warnings]
    lines += [f"  wrote {file}" for file in report.files]
    return "\n".join(lines)


def _fields(report: StageReport) -> dict[str, Any]:
    from dataclasses import asdict

    found, pair = report.importance, report.interaction
    told = {
        (number, one.parameter): one.is_told
        for number, group in enumerate(found.groups)
        for one in group.importances
    }
    fields = asdict(found)
    for number, group in enumerate(fields["groups"]):
        for one in group["importances"]:
            one["is_told"] = told[number, one["parameter"]]
    return {
        **fields,
        "interaction": {**asdict(pair), "is_told": pair.is_told} if pair else None,
        "files": [str(file) for file in report.files],
    }
