"""``nnstudy race``: samplers compared on a study."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnstudy.cli import words
from nnstudy.cli.exit_codes import INTERRUPTED
from nnstudy.cli.launch_fields import race_fields
from nnstudy.cli.launch_options import race_options
from nnstudy.cli.options import complete_study
from nnstudy.cli.retyping import program, retyped
from nnstudy.cli.topics import TopicCommand

if TYPE_CHECKING:
    from nnstudy.engines import Race
    from nnstudy.report import RaceResult


@click.command(
    short_help="Compare samplers on a study, from several seeds.",
    cls=TopicCommand,
    epilog="""
\b
Examples:
  nnstudy race digits --samplers random,grid,tpe
  nnstudy race digits --samplers random,tpe,gp --seeds 10 --trials 40 --epochs 5
  nnstudy race digits --sampler-option tpe.multivariate=true --name digits-multivariate

\b
Ctrl-C once ends after the current epochs with all saved; the same command goes on. Of a
finished race it shows the result again.
""",
)
@click.argument("study", shell_complete=complete_study)
@race_options
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where to write race.json and race.png. Default: mlruns/races/NAME",
)
@click.pass_context
def race(
    ctx: click.Context,
    /,
    study: str,
    *,
    output: Path | None,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Let samplers race on the study STUDY: from several seeds, with equal budgets.

    Each search is stored, as a stage of the study STUDY-race, and has one worker; as many run at
    once as there are cores. Tells the best so far against trials and seconds, and for each two
    samplers the probability that one beats the other.
    """
    from nnstudy import engines
    from nnstudy.cli.race_display import choose_race_display

    fields = race_fields(given)
    try:
        with choose_race_display(quiet=quiet, as_json=as_json) as display:
            interruption = display.interruption()
            with interruption.on_signals():
                done = engines.race(
                    study, output=output, emit=display.hear, interruption=interruption, **fields
                )
            display.result(_lines(done, ctx), _fields(done))
    except KeyboardInterrupt:
        click.echo(f"ended at once; the last checkpoints are kept\n{_resuming(ctx)}", err=True)
        ctx.exit(INTERRUPTED)
    ctx.exit(0 if done.complete or done.timed_out else INTERRUPTED)


def _lines(done: Race, ctx: click.Context) -> list[str]:
    if done.result is None:
        over = "the time is over" if done.timed_out else "ended before it was complete"
        return [
            f"{done.name}: {done.finished} of {done.trials} trials of {done.searches} searches"
            f" finished; {over}",
            _resuming(ctx),
        ]
    result = done.result
    return [
        _headline(result),
        *_table(result),
        *map(str, result.duels),
        "seconds are those of a search's trials, comparable on one machine under one load",
        f"picture and data: {done.output}",
        f"next: {program()} ui {done.name}{retyped(ctx, only=_OF_UI)}",
    ]


def _headline(result: RaceResult) -> str:
    decided = sum(duel.decided for duel in result.duels)
    pairs = "1 pair" if len(result.duels) == 1 else f"{len(result.duels)} pairs"
    return (
        f"{result.name}: {result.seeds} searches of {result.trials} trials by each sampler;"
        f" {decided} of {pairs} can be told apart"
    )


_OF_UI = ("tracking_uri", "artifacts")


def _table(result: RaceResult) -> list[str]:
    rows = [
        ("sampler", f"best {result.metric}, mean", "95 % interval", "worst and best", "seconds")
    ]
    for contender in result.contenders:
        known = sorted(value for value in contender.finals if value is not None)
        ends = known if result.direction == "maximize" else known[::-1]
        rows.append(
            (
                contender.sampler,
                words.score(contender.mean),
                f"{words.score(contender.low)} to {words.score(contender.high)}",
                f"{words.score(ends[0])}, {words.score(ends[-1])}" if ends else "-",
                f"{statistics.median(contender.seconds):.3g}",
            )
        )
    return words.columns(rows).splitlines()


def _fields(done: Race) -> dict[str, Any]:
    return {
        "name": done.name,
        "complete": done.complete,
        "timed_out": done.timed_out,
        "searches": done.searches,
        "finished": done.finished,
        "trials": done.trials,
        "race": done.result.to_dict() if done.result else None,
        "output": done.output,
        "storage": done.storage,
        "tracking": done.tracking,
    }


def _resuming(ctx: click.Context) -> str:
    return f"to go on where it stopped: {program()} race {ctx.params['study']}{retyped(ctx)}"
