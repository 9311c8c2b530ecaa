"""What came of a launch, in words and for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nnstudy.cli import words
from nnstudy.cli.ensemble_lines import ensemble_lines
from nnstudy.cli.retyping import program, retyped

if TYPE_CHECKING:
    from nnstudy.engines import LaunchResult


def outcome_lines(result: LaunchResult, ctx: click.Context) -> list[str]:
    """Returns the result in lines, a headline first and the next command to type last."""
    lines = [_headline(result)]
    if result.best:
        scores = [one["score"] for one in result.facts.get("repeats", ())]
        lines.append(
            f"best: trial {result.best.number} of stage {result.stage},"
            f" {result.metric} {words.score(result.best.value)}"
            + words.founded(result.facts.get("best_epoch"), scores)
        )
        width = max(map(len, result.best.params), default=0)
        lines += [
            f"  {name:<{width}} = {words.parameter(value)}"
            for name, value in result.best.params.items()
        ]
        lines += _judged(result, ctx)
    for stage, borders in result.borders.items():
        of = f" of stage {stage}" if len(result.borders) > 1 else ""
        does = f" (stage {result.extended[stage]} does)" if stage in result.extended else ""
        lines += [f"on the border{of}: {border}{does}" for border in borders]
    lines += [f"storage:    {result.storage}", f"MLflow:     {result.tracking}"]
    if result.facts.get("checkpoint"):
        lines.append(f"checkpoint: {result.facts['checkpoint']}")
    if not result.complete:
        why = [f"no ensemble: {result.not_ensembled}"] if result.not_ensembled else []
        return [*lines, *why, resuming(ctx)]
    if result.ensemble is not None:
        lines += ["", *ensemble_lines(result.ensemble)]
    if result.extendable:
        what = f"{ctx.params['study']}{retyped(ctx)}"
        lines.append(f"to search beyond: {program()} launch {what} --extend-borders")
    return [*lines, f"next: {program()} ui {result.study}{retyped(ctx, only=_OF_UI)}"]


_OF_UI = ("tracking_uri", "artifacts")
_OF_A_LOOK = ("data_dir", "device")


def _judged(result: LaunchResult, ctx: click.Context) -> list[str]:
    """Returns the verdicts on the best trial, and what to try where it has learned nothing."""
    verdicts = result.facts.get("verdicts", [])
    lines = [f"verdict: {v['name']}: {v['evidence']}. {v['advice']}" for v in verdicts]
    if any(verdict["name"] == "at chance" for verdict in verdicts):
        what = f"{ctx.params['study']}{retyped(ctx, only=_OF_A_LOOK)}"
        lines.append(
            "even the best trial has learned nothing: see whether anything can be learned with"
            f" {program()} launch {what} --quick, and at which rates with {program()} lr-find"
            f" {what}"
        )
    return lines


def resuming(ctx: click.Context) -> str:
    """Returns how to go on with what the command of a context has begun."""
    command = ctx.command.name
    named = ("confirm", "distill", "ensemble")
    what = ctx.params["name" if command in named else "study"]
    return f"to go on where it stopped: {program()} {command} {what}{retyped(ctx)}"


def outcome_fields(result: LaunchResult) -> dict[str, Any]:
    """Returns the result as JSON-ready values."""
    best = result.best
    return {
        "study": result.study,
        "complete": result.complete,
        "timed_out": result.timed_out,
        "epochs": result.epochs,
        "flat": result.flat,
        "finished": result.finished,
        "trials": result.trials,
        "endings": result.endings,
        "metric": result.metric,
        "borders": {
            stage: [border.to_dict() for border in borders]
            for stage, borders in result.borders.items()
        },
        "extended": result.extended,
        "ensemble": result.ensemble and result.ensemble.describe(),
        "best": best
        and {
            "stage": result.stage,
            "trial": best.number,
            "value": best.value,
            "params": best.params,
            "epoch": result.facts.get("best_epoch"),
            "checkpoint": result.facts.get("checkpoint"),
            "verdicts": result.facts.get("verdicts", []),
            "run_id": result.facts.get("run_id"),
        },
        "storage": result.storage,
        "tracking": result.tracking,
    }


def _headline(result: LaunchResult) -> str:
    text = f"{result.study}: {result.finished} of {result.trials} trials finished"
    if result.endings:
        text += f" ({words.counted(result.endings)})"
    if result.best:
        text += f"; best {result.metric} {words.score(result.best.value)}"
        text += f", trial {result.best.number}"
    if result.timed_out and not result.complete:
        return f"{text}; the time is over"
    if result.complete and result.flat:
        return f"{text}; {words.flat(result.flat)}"
    if result.complete and result.finished < result.trials:
        spent = f"{result.epochs:g} of {result.max_epochs_total:g}"
        return f"{text}; the epochs are spent ({spent})"
    return text if result.complete else f"{text}; ended before it was complete"
