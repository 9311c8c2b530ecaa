"""``nnstudy confirm``: trains the best configurations again, and says which one is best."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from nnstudy.cli import words
from nnstudy.cli.exit_codes import INTERRUPTED
from nnstudy.cli.launch_fields import confirm_fields
from nnstudy.cli.launch_options import confirm_options
from nnstudy.cli.options import complete_study, study_option
from nnstudy.cli.outcome import resuming
from nnstudy.cli.topics import TopicCommand, topic_option

if TYPE_CHECKING:
    from nnstudy.engines import ConfirmResult

_confirmation = topic_option("Confirmation")


@click.command(
    short_help="Train the best trials again: who really won?",
    cls=TopicCommand,
    epilog="""
\b
Examples:
  nnstudy confirm digits
  nnstudy confirm digits --top 3 --seeds 10
  nnstudy confirm digits --no-test             leave the test part for later

\b
Ctrl-C and SIGTERM mean what they mean to a launch: the same command goes on.
""",
)
@click.argument("name", shell_complete=complete_study)
@_confirmation(
    "--top",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    metavar="K",
    help="How many of the best configurations.",
)
@_confirmation(
    "--seeds",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    metavar="N",
    help="How often each is trained; with more than before, the rest is added.",
)
@_confirmation(
    "--stage",
    metavar="STAGE",
    help="Whose trials. Default: the last stage that has complete ones.",
)
@_confirmation("--no-test", is_flag=True, help="Do not look at the test part.")
@partial(study_option, make=_confirmation)
@confirm_options
@click.pass_context
def confirm(
    ctx: click.Context,
    /,
    name: str,
    *,
    top: int,
    seeds: int,
    stage: str | None,
    no_test: bool,
    study: str | None,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train the best configurations of the stored study NAME again, and compare them.

    The best of many trials is partly lucky. So each of the best is trained with several seeds,
    which all share; the score that it was chosen by is left out. At the end the test part is
    looked at, once, with the networks of the first.
    """
    from nnstudy import engines
    from nnstudy.cli.display import choose_display

    fields = confirm_fields(given)
    try:
        with choose_display(quiet=quiet, as_json=as_json) as display:
            interruption = display.interruption()
            with interruption.on_signals():
                result = engines.confirm(
                    name,
                    top=top,
                    seeds=seeds,
                    stage=stage,
                    test=not no_test,
                    study=study,
                    emit=display.hear,
                    interruption=interruption,
                    **fields,
                )
            display.result(_lines(result, ctx), result.describe())
    except KeyboardInterrupt:
        click.echo(f"ended at once; the last checkpoints are kept\n{resuming(ctx)}", err=True)
        ctx.exit(INTERRUPTED)
    ctx.exit(0 if result.complete or result.timed_out else INTERRUPTED)


def _lines(result: ConfirmResult, ctx: click.Context) -> list[str]:
    from nnstudy.search.confirmation.words import HEADINGS, conclusion, remarks, rows

    found = result.confirmation
    lines = [f"{result.study}: {conclusion(found)}"]
    if not result.complete:
        return [*lines, resuming(ctx)]
    chosen = {
        str(one.trial): words.parameters(one.params) for one in found.selection.configurations
    }
    table = [(*HEADINGS, "parameters"), *((*row, chosen[row[0]]) for row in rows(found))]
    lines += [f"  {line}" for line in words.columns(table).splitlines()]
    lines += remarks(found)
    lines += _test_lines(result)
    return [*lines, f"storage:    {result.storage}", f"MLflow:     {result.tracking}"]


def _test_lines(result: ConfirmResult) -> list[str]:
    if result.test is None:
        return []
    lines = [result.test.sentence()]
    if result.is_test_outdated:
        lines.append(
            f"that was seen on {result.test.when[:10]}, before this result, and is not looked at"
            " again: a second look would be chosen by the first one"
        )
    if result.test_looks > 1:
        lines.append(
            f"Warning: the test part was looked at {result.test_looks} times in all. Only what the"
            " first look told is free of choices that were made by an earlier one"
        )
    else:
        lines.append("the test part was looked at once; the look is recorded with the study")
    return lines
