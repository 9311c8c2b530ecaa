"""``nnstudy distill``: one network that has learnt from an ensemble."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnstudy.cli import words
from nnstudy.cli.exit_codes import INTERRUPTED
from nnstudy.cli.launch_fields import confirm_fields
from nnstudy.cli.launch_options import confirm_options
from nnstudy.cli.options import complete_study, study_option
from nnstudy.cli.outcome import resuming
from nnstudy.cli.topics import TopicCommand, topic_option

if TYPE_CHECKING:
    from nnstudy.engines import DistillResult

_distillation = topic_option("Distillation")


@click.command(
    short_help="Teach one network what the ensemble knows.",
    cls=TopicCommand,
    epilog="""
\b
Examples:
  nnstudy ensemble digits && nnstudy distill digits
  nnstudy distill digits --trials 16 --epochs 60
  nnstudy distill digits --trial 7             another configuration: a smaller network

\b
Ctrl-C and SIGTERM mean what they mean to a launch: the same command goes on.
""",
)
@click.argument("name", shell_complete=complete_study)
@_distillation(
    "--trials",
    type=click.IntRange(min=2),
    default=8,
    show_default=True,
    metavar="N",
    help="Students in all; the first learns the labels alone.",
)
@_distillation(
    "--epochs",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="How long each is trained. Default: as in the search.",
)
@_distillation(
    "--trial",
    type=click.IntRange(min=0),
    metavar="N",
    help="Whose configuration they have. Default: the best trial.",
)
@_distillation("--stage", metavar="STAGE", help="Of that trial. Default: the last one.")
@_distillation(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("mlruns/ensembles"),
    show_default=True,
    metavar="DIR",
    help="Where the ensembles of studies are kept.",
)
@partial(study_option, make=_distillation)
@confirm_options
@click.pass_context
def distill(
    ctx: click.Context,
    /,
    name: str,
    *,
    trials: int,
    epochs: float | None,
    trial: int | None,
    stage: str | None,
    output: Path,
    study: str | None,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train one network on what the ensemble of the study NAME answers.

    Each trial is a student: a network with one trial's configuration and new weights, which learns
    the ensemble's softened answers beside the labels. Mix and temperature are searched. The best on
    the validation part is measured on the selection part, beside the ensemble, the single best
    network and one that learnt the labels alone. The test part is not looked at.
    """
    from nnstudy import engines
    from nnstudy.cli.display import choose_display

    fields = confirm_fields(given)
    try:
        with choose_display(quiet=quiet, as_json=as_json) as display:
            interruption = display.interruption()
            with interruption.on_signals():
                result = engines.distill(
                    name,
                    trials=trials,
                    epochs=epochs,
                    trial=trial,
                    stage=stage,
                    output=output,
                    study=study,
                    emit=display.hear,
                    interruption=interruption,
                    **fields,
                )
            display.result(_lines(result, ctx), result.describe())
    except KeyboardInterrupt:
        click.echo(f"ended at once; the last checkpoints are kept\n{resuming(ctx)}", err=True)
        ctx.exit(INTERRUPTED)
    ctx.exit(0 if result.complete or result.timed_out else INTERRUPTED)


def _lines(result: DistillResult, ctx: click.Context) -> list[str]:
    from nnstudy.ensembles.distillation.words import (
        conclusion,
        cost_rows,
        remarks,
        rows,
        student_rows,
    )

    found, study = result.distillation, result.plan.study
    if found is None:
        return [f"{study}: the students of stage {result.plan.stage} are not done", resuming(ctx)]
    lines = [f"{study}: {conclusion(found)}"]
    for table in (rows(found), cost_rows(found), student_rows(found)):
        lines += [f"  {line}" for line in words.columns(table).splitlines()]
    return [
        *lines,
        *remarks(found),
        f"storage:    {result.storage}",
        f"MLflow:     {result.tracking}",
    ]
