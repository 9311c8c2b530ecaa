"""``nnstudy status``: how far studies are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from nnstudy.cli import words
from nnstudy.cli.options import complete_study, json_option, storage_option
from nnstudy.cli.retyping import program

if TYPE_CHECKING:
    from nnstudy.report import StageStatus


@click.command(
    short_help="Show how far studies are.",
    epilog="""
\b
Examples:
  nnstudy status
  nnstudy status digits --json
""",
)
@click.argument("name", required=False, shell_complete=complete_study)
@storage_option
@json_option
def status(name: str | None, storage: str | None, as_json: bool) -> None:
    """Show how far the study NAME is, or all stored studies.

    Trials by state, the best so far, the running ones with what they have reached, who works on
    them, and the expected time left.
    """
    from dataclasses import asdict

    from nnstudy.report import study_status
    from nnstudy.search.storage import open_storage, storage_url
    from nnstudy.secret_urls import mask

    url = storage_url(storage)
    stages = study_status(open_storage(url, create=False), name)
    if as_json:
        click.echo(json.dumps([asdict(stage) for stage in stages], indent=2))
    elif not stages:
        click.echo(f"no study is stored at {mask(url)}")
    else:
        click.echo("\n\n".join(_described(stage) for stage in stages))


def _described(stage: StageStatus) -> str:
    lines = [f"{stage.study}/{stage.stage}: {stage.finished} of {stage.trials} trials finished"]
    if stage.seconds_left:
        lines[0] += f", about {words.duration(stage.seconds_left)} left"
    if stage.stopping:
        lines[0] += ", stopping as asked"
    lines.append(f"  {words.counted(stage.states) or 'no trial yet'}")
    if stage.best:
        best = stage.best
        lines.append(f"  best: {stage.metric} {words.score(best.value)}, trial {best.trial}")
        lines.append(f"        {words.parameters(best.params)}")
    if stage.test_looks:
        times = "once" if stage.test_looks == 1 else f"{stage.test_looks} times"
        lines.append(f"  the test part was looked at {times}")
    if stage.states["interrupted"] and not stage.running:
        lines.append(f"  to go on: {program()} launch {stage.study}")
    return "\n".join([*lines, *_running(stage)])


def _running(stage: StageStatus) -> list[str]:
    if not stage.running:
        return []
    rows = [("trial", "epoch", "best so far", "age", "worker", "parameters")]
    rows += [
        (
            str(trial.trial),
            f"{trial.epoch:g}",
            words.score(trial.value),
            words.duration(trial.age_seconds),
            trial.worker,
            words.parameters(trial.params),
        )
        for trial in stage.running
    ]
    return [f"  {line}" for line in words.columns(rows).splitlines()]
