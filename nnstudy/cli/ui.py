"""``nnstudy ui``: the MLflow UI on the right store."""

from __future__ import annotations

import click

from nnstudy.cli.options import complete_study, tracking_options
from nnstudy.errors import UserError


@click.command(
    short_help="Open MLflow's pages on the runs.",
    epilog="""
\b
Examples:
  nnstudy ui
  nnstudy ui digits --port 5001
""",
)
@click.argument("name", required=False, shell_complete=complete_study)
@tracking_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=5000,
    show_default=True,
    help="Port to listen on; where it is taken, a free one is.",
)
@click.pass_context
def ui(
    ctx: click.Context,
    name: str | None,
    tracking_uri: str | None,
    artifacts: str | None,
    host: str,
    port: int,
) -> None:
    """Open MLflow's pages on the runs of the study NAME, or on all studies.

    They can be reached from this machine alone unless --host says otherwise. Ctrl-C ends.
    """
    from nnstudy.tracking.location import Location

    location = Location.resolve(tracking_uri, artifacts)
    if location.sqlite_file and not location.sqlite_file.exists():
        raise UserError(
            f"nothing is tracked at {location.masked_uri} yet. Launch a study first, or give the"
            " store with --tracking-uri or MLFLOW_TRACKING_URI"
        )
    from nnstudy.tracking import serve

    def announce(address: str) -> None:
        click.echo(f"MLflow: {address}" + ("" if location.is_server else "  (Ctrl-C ends)"))

    ctx.exit(
        serve(tracking_uri, artifacts, host, port, experiment=name, announce=announce),
    )
