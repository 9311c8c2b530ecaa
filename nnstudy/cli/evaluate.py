"""``nnstudy evaluate``: measures a finished trial on a part of the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnstudy.cli import words
from nnstudy.cli.options import (
    complete_study,
    json_option,
    rebuilding_fields,
    rebuilding_options,
)

if TYPE_CHECKING:
    from nnstudy.search.evaluation import Evaluation


@click.command(
    short_help="Measure a finished trial again, on a part of the data.",
    epilog="""
\b
Examples:
  nnstudy evaluate digits
  nnstudy evaluate digits --trial 12 --part test
""",
)
@click.argument("name", shell_complete=complete_study)
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="Default: the best one.")
@click.option("--stage", metavar="STAGE", help="Default: the last one that has such a trial.")
@click.option(
    "--part",
    type=click.Choice(["validation", "selection", "test"]),
    default="validation",
    show_default=True,
    help="What to measure on.",
)
@rebuilding_options
@json_option
def evaluate(
    name: str,
    *,
    trial: int | None,
    stage: str | None,
    part: Any,
    storage: str | None,
    tracking_uri: str | None,
    artifacts: str | None,
    checkpoints: Path | None,
    data_dir: Path | None,
    device: str,
    kept_code: bool,
    as_json: bool,
) -> None:
    """Measure a finished trial of the study NAME again, with its best weights.

    Runs the study file to rebuild the network. Each look at the test part is recorded with the
    study, and nnstudy status tells how many there were: choosing by the test part spoils it.
    """
    from dataclasses import asdict

    from nnstudy.search.evaluation import evaluate_trial
    from nnstudy.search.storage import open_storage, storage_url

    done = evaluate_trial(
        open_storage(storage_url(storage), create=False),
        name,
        stage=stage,
        number=trial,
        part=part,
        tracking_uri=tracking_uri,
        artifacts=artifacts,
        kept_code=kept_code,
        warn=lambda text: click.echo(f"Warning: {text}", err=True),
        **rebuilding_fields(checkpoints=checkpoints, data_dir=data_dir, device=device),
    )
    click.echo(json.dumps(asdict(done)) if as_json else _described(done))


def _described(done: Evaluation) -> str:
    epoch = f" at epoch {done.epoch:g}" if done.epoch is not None else ""
    if done.repeat:
        epoch += f" of {done.repeat}, its best"
    width = max(map(len, done.scores))
    lines = [
        f"{done.study}/{done.stage}, trial {done.trial}{epoch}, on {done.examples} {done.part}"
        " examples:",
        *(f"  {name:<{width}}  {words.score(value)}" for name, value in done.scores.items()),
    ]
    if done.part == "test":
        looks = "first look" if done.test_looks == 1 else f"look number {done.test_looks}"
        lines.append(f"this was the {looks} at the test part; it is recorded with the study")
    return "\n".join(lines)
