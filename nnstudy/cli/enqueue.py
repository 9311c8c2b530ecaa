"""``nnstudy enqueue``: asks for a given point to be tried next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from nnstudy.cli import words
from nnstudy.cli.options import complete_study, key_values, storage_option
from nnstudy.cli.retyping import program

if TYPE_CHECKING:
    from nnstudy.search.space import Space


@click.command(
    short_help="Ask for a point to be tried next.",
    epilog="""
\b
Example:
  nnstudy enqueue digits lr=0.1 momentum=0.9
""",
)
@click.argument("name", shell_complete=complete_study)
@click.argument("point", nargs=-1, required=True, callback=key_values, metavar="KEY=VALUE...")
@storage_option
def enqueue(name: str, point: Mapping[str, Any], storage: str | None) -> None:
    """Ask for a point to be tried next in the study NAME.

    Parameters that are not given are sampled. It goes to the first stage that is not finished.
    """
    from nnstudy.report import study_status
    from nnstudy.search import requests
    from nnstudy.search.storage import open_storage, storage_url
    from nnstudy.search.stored import refuse_race, require_stages

    opened = open_storage(storage_url(storage), create=False)
    stages = [stage for stage in require_stages(opened, name) if stage.plan.kind == "search"]
    refuse_race(stages)
    progress = [stage for stage in study_status(opened, name) if stage.kind == "search"]
    unfinished = [i for i, stage in enumerate(progress) if stage.finished < stage.trials]
    position = unfinished[0] if unfinished else -1
    stage = stages[position]
    point = _as_choices(point, stage.plan.searched_space())
    stage.plan.searched_space().check(point)
    requests.enqueue(stage.optuna_study, point)
    click.echo(f"enqueued in {stage.plan.name}: {words.parameters(point)}")
    if not unfinished:
        more = sum(stage.trials for stage in progress if stage.widens is None) + 1
        click.echo(
            f"all {sum(stage.trials for stage in progress)} trials are finished, so it waits for a larger budget:"
            f" {program()} launch {name} --trials {more}"
        )
    elif not progress[position].running:
        click.echo(f"it is tried when the study goes on: {program()} launch {name}")


def _as_choices(point: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Returns the point with ``kernel=3`` meant as ``"3"`` where the choices are strings."""

    def meant(name: str, value: Any) -> Any:
        known = space.parameters.get(name)
        as_text = value if isinstance(value, str) else _text(value)
        if known and not known.contains(value) and known.contains(as_text):
            return as_text
        return value

    return {name: meant(name, value) for name, value in point.items()}


def _text(value: Any) -> str:
    import json

    return json.dumps(value)
