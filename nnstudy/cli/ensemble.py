"""``nnstudy ensemble``: one better model of what a search has trained."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from nnstudy.cli.ensemble_lines import ensemble_lines
from nnstudy.cli.exit_codes import INTERRUPTED
from nnstudy.cli.launch_fields import confirm_fields
from nnstudy.cli.launch_options import confirm_options
from nnstudy.cli.options import complete_study, kept_code_option, study_option
from nnstudy.cli.outcome import resuming
from nnstudy.cli.topics import TopicCommand, topic_option

_members = topic_option("Members")
_answers = topic_option("Answers")

_OF_ENSEMBLES = (
    *("sources", "select", "members", "candidates", "bags", "seed"),
    *("combine", "test", "model", "export", "study", "kept_code", "output"),
)


@click.command(
    short_help="Make one better model of the trained networks.",
    cls=TopicCommand,
    epilog="""
\b
Examples:
  nnstudy ensemble digits
  nnstudy ensemble digits --select all --combine logits --members 5
  nnstudy ensemble digits --from checkpoints     kept epochs of the best trial
  nnstudy ensemble digits --from seeds --from top-trials

\b
Only --from seeds trains anything. Ctrl-C and SIGTERM mean what they mean to a launch: the
same command goes on.
""",
)
@click.argument("name", shell_complete=complete_study)
@_members(
    "--from",
    "sources",
    type=click.Choice(["top-trials", "seeds", "checkpoints", "average"]),
    multiple=True,
    default=["top-trials"],
    show_default=True,
    help="Candidates: the best trials; the best one trained again with other seeds; the epochs"
    " that it has kept; averages of the weights of one training. May be repeated.",
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
@kept_code_option
@confirm_options
@click.pass_context
def ensemble(ctx: click.Context, /, name: str, *, quiet: bool, as_json: bool, **given: Any) -> None:
    """Make one better model of the networks that the study NAME has trained.

    Members are chosen and calibrated on the selection part of the data, which the search has
    never seen, and measured there by folds. Runs the study file to rebuild the networks.
    """
    from nnstudy import engines
    from nnstudy.cli.display import choose_display
    from nnstudy.search.interruption import Interrupted

    fields = {**confirm_fields(given), **{name: given[name] for name in _OF_ENSEMBLES}}
    trains = "seeds" in given["sources"]
    with choose_display(quiet=quiet, as_json=as_json, live=trains) as display:
        interruption = display.interruption()
        try:
            with interruption.on_signals() if trains else contextlib.nullcontext():
                result = engines.ensemble(
                    name,
                    warn=lambda text: click.echo(f"Warning: {text}", err=True),
                    emit=display.hear,
                    interruption=interruption,
                    **fields,
                )
        except (Interrupted, KeyboardInterrupt) as error:
            click.echo(f"{error or 'ended at once'}\n{resuming(ctx)}", err=True)
            ctx.exit(0 if interruption.timed_out else INTERRUPTED)
        display.result(ensemble_lines(result), result.describe())
