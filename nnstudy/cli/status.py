"""``nnstudy status``: how far studies are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
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
  nnstudy status digits --trials
  nnstudy status digits --json
""",
)
@click.argument("name", required=False, shell_complete=complete_study)
@click.option("--trials", "with_trials", is_flag=True, help="Show each ended trial, with verdicts.")
@storage_option
@json_option
def status(name: str | None, with_trials: bool, storage: str | None, as_json: bool) -> None:
    """Show how far the study NAME is, or all stored studies.

    A race is one line among all studies, and told search by search where it is NAME. Else:
    trials by state, the best so far, the running ones with what they have reached, who works on
    them, and the expected time left; how often each verdict was given, with the parameter that
    tells these trials from all others where there is one; and where the best values lie on the
    border of what is searched, the range to search instead.
    """
    from dataclasses import asdict

    from nnstudy.report import spoilt_tests, study_status
    from nnstudy.search.storage import open_storage, storage_url
    from nnstudy.secret_urls import mask

    url = storage_url(storage)
    stages = study_status(open_storage(url, create=False), name)
    if as_json:
        click.echo(json.dumps([asdict(stage) for stage in stages], indent=2))
    elif not stages:
        click.echo(f"no study is stored at {mask(url)}")
    else:
        told = [*_overview(stages, with_trials, one=name is not None)]
        told += [_spoilt(study, times) for study, times in spoilt_tests(stages).items()]
        click.echo("\n\n".join(told))


def _overview(stages: list[StageStatus], with_trials: bool, *, one: bool) -> Iterator[str]:
    """Yields what is told of each stage, of a race in a line, unless it is asked for by name."""
    for study, group in groupby(stages, key=lambda stage: stage.study):
        its = list(group)
        if its[0].race and not one:
            finished, trials = (sum(getattr(s, f) for s in its) for f in ("finished", "trials"))
            yield (
                f"{study}: race, {finished} of {trials} trials of {len(its)} searches finished;"
                f" more: {program()} status {study}"
            )
        else:
            yield from (_described(stage, with_trials) for stage in its)


def _described(stage: StageStatus, with_trials: bool) -> str:
    lines = [f"{stage.study}/{stage.stage}: {stage.finished} of {stage.trials} trials finished"]
    if stage.seconds_left:
        lines[0] += f", about {words.duration(stage.seconds_left)} left"
    if stage.stopping:
        lines[0] += ", stopping as asked"
    lines.append(f"  {words.counted(stage.states) or 'no trial yet'}")
    if times := words.times(stage.folds, stage.seeds):
        lines.append(f"  each trial: the mean of {times}")
    if stage.conclusion:
        lines.append(f"  {stage.conclusion}")
    elif stage.best:
        best = stage.best
        lines.append(f"  best: {stage.metric} {words.score(best.value)}, trial {best.trial}")
        lines.append(f"        {words.parameters(best.params)}")
    if stage.ranges:
        lines.append("  searches:")
        lines += [f"    {entry.name}: {entry.given}; {entry.evidence}" for entry in stage.ranges]
    if stage.verdicts:
        lines += ["  verdicts:", *(f"    {count}" for count in stage.verdicts)]
    if stage.borders:
        lines += ["  on the border:", *(f"    {border['text']}" for border in stage.borders)]
        if stage.extended_by:
            lines.append(f"    stage {stage.extended_by} does")
        elif stage.extendable:
            lines.append(f"    to search beyond: {program()} launch {stage.study} --extend-borders")
    if stage.test_looks:
        times = "once" if stage.test_looks == 1 else f"{stage.test_looks} times"
        lines.append(f"  the test part was looked at {times}")
    if stage.states["interrupted"] and not stage.running and not stage.race:
        lines.append(f"  to go on: {program()} {_continuing(stage)}")
    lines += _running(stage)
    return "\n".join([*lines, *(_ended(stage) if with_trials else [])])


def _continuing(stage: StageStatus) -> str:
    """Returns the command that goes on with a stage."""
    if stage.kind == "search":
        return f"launch {stage.study}"
    if stage.kind == "confirm" and stage.conclusion is None:  # nothing was asked to be confirmed
        return f"ensemble {stage.study} --from seeds"
    return f"{stage.kind} {stage.study}"


def _spoilt(study: str, times: int) -> str:
    return (
        f"Warning: the test part of {study} was looked at {times} times. Only what the first look"
        " told is free of choices that were made by an earlier one"
    )


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


def _ended(stage: StageStatus) -> list[str]:
    if not stage.ended:
        return []
    rows = [("trial", "ended", "epochs", "reached", "verdicts", "parameters")]
    rows += [
        (
            str(trial.trial),
            trial.state,
            f"{trial.epochs:g}",
            words.score(trial.value),
            ", ".join(verdict["name"] for verdict in trial.verdicts) or "-",
            words.parameters(trial.params),
        )
        for trial in stage.ended
    ]
    return [f"  {line}" for line in words.columns(rows).splitlines()]
