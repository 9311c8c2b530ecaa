"""``nnstudy worker``: joins a stored study from any shell or machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nnstudy.cli.exit_codes import INTERRUPTED
from nnstudy.cli.launch_fields import worker_fields
from nnstudy.cli.launch_options import worker_options
from nnstudy.cli.options import complete_study, study_option
from nnstudy.cli.topics import TopicCommand

if TYPE_CHECKING:
    from nnstudy.engines import JoinResult


@click.command(
    short_help="Join a stored study as one more worker.",
    cls=TopicCommand,
    epilog="""
\b
Examples:
  nnstudy worker digits
  nnstudy worker mine --study studies/mine.py --checkpoints /shared/checkpoints \\
      --storage postgresql://me@host/optuna --tracking-uri http://host:5000
  srun --ntasks 8 nnstudy worker mine --storage ... --tracking-uri ...    on a Slurm cluster

\b
Passwords need not be typed: PostgreSQL reads ~/.pgpass and PGPASSWORD, and NNSTUDY_STORAGE
and MLFLOW_TRACKING_URI stand for the options.
""",
)
@click.argument("name", shell_complete=complete_study)
@study_option
@worker_options
@click.pass_context
def worker(
    ctx: click.Context,
    /,
    name: str,
    *,
    study: str | None,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Work on the stored study NAME, beside whoever else does, until it is done.

    Any number of workers may join, from any machine, also while the study runs. Each needs the
    databases, the study file or the package that has it, and a place of checkpoints that all can
    reach: a shared directory, or MLflow (--checkpoints mlflow).
    """
    from nnstudy import engines
    from nnstudy.cli.display import choose_display

    try:
        with choose_display(quiet=quiet, as_json=as_json) as display:
            interruption = display.interruption()
            with interruption.on_signals():
                result = engines.join(
                    name,
                    study=study,
                    emit=display.hear,
                    interruption=interruption,
                    **worker_fields(given),
                )
            display.result([_headline(result)], _fields(result))
    except KeyboardInterrupt:
        ctx.exit(INTERRUPTED)
    ctx.exit(0 if result.complete or result.timed_out else INTERRUPTED)


def _headline(result: JoinResult) -> str:
    state = "is done" if result.complete else "goes on without this worker"
    over = "; the time is over" if result.timed_out and not result.complete else ""
    return f"{result.study} {state}; {result.ended} trials ended here{over}"


def _fields(result: JoinResult) -> dict[str, Any]:
    return {
        "study": result.study,
        "complete": result.complete,
        "timed_out": result.timed_out,
        "ended": result.ended,
    }
