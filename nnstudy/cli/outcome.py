"""What came of a launch, in words and for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nnstudy.cli import words
from nnstudy.cli.retyping import program, retyped

if TYPE_CHECKING:
    from nnstudy.engines import LaunchResult


def outcome_lines(result: LaunchResult, ctx: click.Context) -> list[str]:
    """Returns the result in lines, a headline first and the next command to type last."""
    lines = [_headline(result)]
    if result.best:
        epoch = result.facts.get("best_epoch")
        lines.append(
            f"best: trial {result.best.number} of stage {result.stage},"
            f" {result.metric} {words.score(result.best.value)}"
            + (f" at epoch {epoch:g}" if epoch is not None else "")
        )
        width = max(map(len, result.best.params), default=0)
        lines += [
            f"  {name:<{width}} = {words.parameter(value)}"
            for name, value in result.best.params.items()
        ]
    lines += [f"storage:    {result.storage}", f"MLflow:     {result.tracking}"]
    if result.facts.get("checkpoint"):
        lines.append(f"checkpoint: {result.facts['checkpoint']}")
    if not result.complete:
        return [*lines, resuming(ctx)]
    return [*lines, f"next: {program()} ui {result.study}{retyped(ctx, only=_OF_UI)}"]


_OF_UI = ("tracking_uri", "artifacts")


def resuming(ctx: click.Context) -> str:
    """Returns how to go on with the launch of a context."""
    return f"to go on where it stopped: {program()} launch {ctx.params['study']}{retyped(ctx)}"


def outcome_fields(result: LaunchResult) -> dict[str, Any]:
    """Returns the result as JSON-ready values."""
    best = result.best
    return {
        "study": result.study,
        "complete": result.complete,
        "finished": result.finished,
        "trials": result.trials,
        "endings": result.endings,
        "metric": result.metric,
        "best": best
        and {
            "stage": result.stage,
            "trial": best.number,
            "value": best.value,
            "params": best.params,
            "epoch": result.facts.get("best_epoch"),
            "checkpoint": result.facts.get("checkpoint"),
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
    return text if result.complete else f"{text}; ended before it was complete"
