"""``nnstudy list``: what can be launched and what is stored."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from nnstudy.cli import words
from nnstudy.cli.options import json_option, storage_option

if TYPE_CHECKING:
    from nnstudy.report import StageStatus


@click.command("list")
@storage_option
@json_option
def list_(storage: str | None, as_json: bool) -> None:
    """List the studies that can be launched, and those that are stored."""
    from nnstudy.study.discovery import available_studies

    launchable = [
        {"name": info.name, "origin": info.origin, "summary": info.summary}
        for info in available_studies()
    ]
    stored = _stored(storage)
    if as_json:
        click.echo(json.dumps({"launchable": launchable, "stored": stored}, indent=2))
        return
    rows = [["name", "from", "what it is"], *(list(item.values()) for item in launchable)]
    click.echo(words.columns(rows))
    if stored:
        rows = [["stored", "finished", "best"]]
        rows += [
            [
                stage["name"],
                f"{stage['finished']} of {stage['trials']}",
                "-" if stage["best"] is None else f"{stage['metric']} {words.score(stage['best'])}",
            ]
            for stage in stored
        ]
        click.echo("\n" + words.columns(rows))


def _stored(url: str | None) -> list[dict[str, Any]]:
    """Returns the stored stages; none where the default database does not exist yet."""
    from pathlib import Path

    from nnstudy.cli.options import DEFAULT_DATABASE

    if url is None and not Path(DEFAULT_DATABASE).exists():
        return []  # the usual case before the first launch, told without PyTorch
    from nnstudy.report import study_status
    from nnstudy.search.storage import open_storage, storage_url

    stages = study_status(open_storage(storage_url(url), create=False))
    groups = groupby(stages, key=lambda stage: stage.study if stage.race else stage)
    return [_race_row(list(group)) if isinstance(key, str) else _row(key) for key, group in groups]


def _race_row(stages: list[StageStatus]) -> dict[str, Any]:
    """Returns a race as one row; its best is no search's result, so it has none."""
    return {
        "name": f"{stages[0].study} (race)",
        "finished": sum(stage.finished for stage in stages),
        "trials": sum(stage.trials for stage in stages),
        "metric": stages[0].metric,
        "best": None,
    }


def _row(stage: StageStatus) -> dict[str, Any]:
    return {
        "name": f"{stage.study}/{stage.stage}",
        "finished": stage.finished,
        "trials": stage.trials,
        "metric": stage.metric,
        "best": stage.best.value if stage.best else None,
    }
