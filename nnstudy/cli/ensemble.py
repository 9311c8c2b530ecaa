"""``nnstudy ensemble``: one better model of what a search has trained."""

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
    study_option,
)
from nnstudy.cli.topics import TopicCommand, topic_option

if TYPE_CHECKING:
    from nnstudy.engines import EnsembleResult

_members = topic_option("Members")
_answers = topic_option("Answers")


@click.command(
    short_help="Make one better model of the trained networks.",
    cls=TopicCommand,
    epilog="""
\b
Examples:
  nnstudy ensemble digits
  nnstudy ensemble digits --select all --combine logits --members 5
  nnstudy ensemble digits --from checkpoints     kept epochs of the best trial
""",
)
@click.argument("name", shell_complete=complete_study)
@_members(
    "--from",
    "sources",
    type=click.Choice(["top-trials", "checkpoints", "average"]),
    multiple=True,
    default=["top-trials"],
    show_default=True,
    help="Candidates: the best trials; the epochs that the best one has kept; averages of the"
    " weights of one training. May be repeated.",
)
@_members(
    "--select",
    type=click.Choice(["all", "best-k", "greedy"]),
    default="greedy",
    show_default=True,
    help="How members are chosen.",
)
@_members(
    "--members",
    type=click.IntRange(min=2),
    metavar="N",
    help="Members at most, each as often as it counts. Default: 10.",
)
@_members(
    "--candidates",
    type=click.IntRange(min=2),
    metavar="N",
    help="How many of each source are considered, the best first. Default: 5 for each member.",
)
@_members(
    "--bags",
    type=click.IntRange(min=0),
    default=0,
    metavar="B",
    help="Select greedily in B random halves of the candidates. Default: once, among all.",
)
@_members("--seed", type=click.IntRange(min=0), default=0, metavar="N", help="Default: 0.")
@_answers(
    "--combine",
    type=click.Choice(["probabilities", "logits", "geometric", "weighted", "vote", "weights"]),
    default="probabilities",
    show_default=True,
    help="How answers are made one; numbers have their mean. The weights of several trainings are"
    " no ensemble: that is refused.",
)
@_answers("--test", is_flag=True, help="Measure on the test part at the end, once.")
@click.option(
    "--no-model",
    "model",
    flag_value=False,
    default=True,
    help="Do not log and register it as a model that can be used.",
)
@click.option(
    "--export",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the model to a file of torch.export, .pt2, which needs no study's code.",
)
@study_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("mlruns/ensembles"),
    show_default=True,
    metavar="DIR",
    help="Where the ensembles of studies are kept.",
)
@rebuilding_options
@json_option
def ensemble(
    name: str,
    *,
    checkpoints: Path | None,
    data_dir: Path | None,
    device: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Make one better model of the networks that the study NAME has trained.

    Members are chosen and calibrated on the selection part of the data, which the search has
    never seen, and measured there by folds. Runs the study file to rebuild the networks.
    """
    from nnstudy import engines

    result = engines.ensemble(
        name,
        warn=lambda text: click.echo(f"Warning: {text}", err=True),
        **rebuilding_fields(checkpoints=checkpoints, data_dir=data_dir, device=device),
        **given,
    )
    click.echo(json.dumps(result.describe()) if as_json else _described(result))


def _described(result: EnsembleResult) -> str:
    from nnstudy.ensembles.words import (
        conclusion,
        cost_rows,
        member_rows,
        remarks,
        rows,
        sentence_of,
    )

    made = result.ensemble
    lines = [f"{result.study}: {conclusion(made)}"]
    for table in (rows(made), cost_rows(made), member_rows(made)):
        lines += [f"  {line}" for line in words.columns(table).splitlines()]
    lines += remarks(made)
    if result.test is not None:
        lines.append(sentence_of(result.test, made))
        times = "once" if result.test_looks == 1 else f"{result.test_looks} times in all"
        lines.append(f"the test part was looked at {times}; each look is recorded with the study")
    if result.published is not None:
        model = result.published.model
        version = f", version {model.version} of {result.study}" if model.version else ""
        lines.append(f"model:      {model.uri}{version}")
    if result.exported is not None:
        lines.append(f"exported:   {result.exported}")
    return "\n".join([*lines, f"ensemble:   {result.file}", f"MLflow:     {result.tracking}"])
