"""``nnstudy new``: a study file to start from."""

from __future__ import annotations

from pathlib import Path

import click

from nnstudy.cli.retyping import program


@click.command(
    short_help="Write a study file to start from.",
    epilog="""
\b
Example:
  nnstudy new mine && nnstudy launch mine
""",
)
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("studies"),
    show_default=True,
    help="Where to write it.",
)
def new(name: str, directory: Path) -> None:
    """Write a commented study file NAME.py that runs as it is."""
    from nnstudy.study.template import new_study

    path = new_study(name, directory)
    click.echo(f"wrote {path}")
    found_by_name = directory.resolve() == Path("studies").resolve()
    click.echo(f"next: {program()} launch {name if found_by_name else path}")
