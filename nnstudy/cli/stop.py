"""``nnstudy stop``: ends a study or one of its trials after its epoch."""

from __future__ import annotations

import click

from nnstudy.cli.options import complete_study, storage_option
from nnstudy.cli.retyping import program
from nnstudy.errors import UserError


@click.command(
    short_help="End a study or a trial after its epoch.",
    epilog="""
\b
Examples:
  nnstudy stop digits
  nnstudy stop digits --trial 12
""",
)
@click.argument("name", shell_complete=complete_study)
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="End this trial alone.")
@storage_option
def stop(name: str, trial: int | None, storage: str | None) -> None:
    """End the study NAME after the current epochs, with all saved.

    Launching it again goes on with it. A trial that is ended alone counts as complete, with the
    best it reached.
    """
    from nnstudy.report import study_status
    from nnstudy.search import requests
    from nnstudy.search.storage import open_storage, storage_url
    from nnstudy.search.stored import require_stages

    opened = open_storage(storage_url(storage), create=False)
    stages = {stage.plan.stage: stage.optuna_study for stage in require_stages(opened, name)}
    at_work = [stage for stage in study_status(opened, name) if stage.running]
    if trial is None:
        if not at_work:
            raise UserError(f"nobody works on study {name!r}, so there is nothing to stop")
        for optuna_study in stages.values():
            requests.stop_study(optuna_study)
        click.echo(
            f"study {name} ends after the current epochs; to go on later: {program()} launch {name}"
        )
        return
    for stage in at_work:
        if trial in {running.trial for running in stage.running}:
            requests.stop_trial(stages[stage.stage], trial)
            click.echo(f"trial {trial} of {name}/{stage.stage} ends after its current epoch")
            return
    raise UserError(f"study {name!r} has no running trial {trial}; see nnstudy status {name}")
