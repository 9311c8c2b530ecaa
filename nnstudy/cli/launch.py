"""``nnstudy launch``: runs a study, or goes on with it."""

from __future__ import annotations

from typing import Any

import click

from nnstudy.cli.exit_codes import INTERRUPTED
from nnstudy.cli.launch_fields import launch_fields
from nnstudy.cli.launch_options import launch_options
from nnstudy.cli.options import complete_study
from nnstudy.cli.quick import quick as quick_look
from nnstudy.cli.topics import TopicCommand
from nnstudy.errors import UserError


@click.command(
    short_help="Search a study, or go on with it.",
    cls=TopicCommand,
    epilog="""
\b
Examples:
  nnstudy launch digits
  nnstudy launch digits --quick              does anything learn? in seconds, without a search
  nnstudy launch digits --ensemble           and make one better model of what was found
  nnstudy launch digits --trials 60          go on to 60 finished trials in all
  nnstudy launch studies/mine.py:study --workers 2 --epochs 5
  nnstudy launch mnist_mlp --download --classes 0,1 --examples 1000 --valid-examples 100
  nnstudy launch digits --sampler grid --sampler-option points=3 --name digits-grid
  nnstudy launch digits --storage postgresql://me@host/optuna --tracking-uri http://host:5000

\b
Ctrl-C once ends after the current epoch with all saved, twice ends now. SIGTERM, as a
cluster sends it, saves within the epoch and ends within a second.
""",
)
@click.argument("study", shell_complete=complete_study)
@launch_options
@click.pass_context
def launch(
    ctx: click.Context,
    /,
    study: str,
    *,
    quick: bool,
    ensemble: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Search the study STUDY, or go on with it where it is stored.

    STUDY is a name (see nnstudy list) or path/to/study.py, either with :object behind it where
    a file holds several studies. A stored study remembers its sampler, pruner and trials.
    """
    if quick:
        quick_look(ctx, given, quiet=quiet, as_json=as_json)
        return
    from nnstudy import engines
    from nnstudy.cli.display import choose_display
    from nnstudy.cli.outcome import outcome_fields, outcome_lines, resuming

    fields = launch_fields(given)
    try:
        with choose_display(quiet=quiet, as_json=as_json) as display:
            interruption = display.interruption()
            with interruption.on_signals():
                result = engines.launch(
                    study,
                    ensemble=ensemble,
                    emit=display.hear,
                    interruption=interruption,
                    **fields,
                )
            display.result(outcome_lines(result, ctx), outcome_fields(result))
    except KeyboardInterrupt:
        click.echo(f"ended at once; the last checkpoints are kept\n{resuming(ctx)}", err=True)
        ctx.exit(INTERRUPTED)
    if result.complete and result.not_ensembled:
        raise UserError(f"no ensemble was made: {result.not_ensembled}")
    ctx.exit(0 if result.complete or result.timed_out else INTERRUPTED)
