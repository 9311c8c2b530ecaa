"""``nnstudy launch --quick``: does anything learn at all?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from nnstudy.cli import words
from nnstudy.cli.launch_fields import launch_fields
from nnstudy.cli.retyping import program, retyped
from nnstudy.errors import UserError

if TYPE_CHECKING:
    from nnstudy.engines.quick_result import Learner, QuickResult, ShortRun

_UNDERSTOOD = frozenset(
    {
        *("study", "quick", "name", "seed", "classes", "examples", "valid_examples", "epochs"),
        *("validate_every", "data_dir", "download", "device", "threads", "precision"),
        *("tracking_uri", "artifacts", "quiet", "as_json"),
    }
)
_OF_NEXT = ("data_dir", "device")


def quick(ctx: click.Context, given: Mapping[str, Any], *, quiet: bool, as_json: bool) -> None:
    """Looks whether anything of the study learns, and shows what came of it.

    Raises:
        UserError: If an option is given that only a search understands.
    """
    _refuse_options_of_a_search(ctx)
    from nnstudy import engines
    from nnstudy.cli.display import choose_display

    study = ctx.params["study"]
    with choose_display(quiet=quiet, as_json=as_json, live=False) as display:
        result = engines.quick(study, emit=display.hear, **launch_fields(given))
        display.result(_lines(result, ctx), _fields(result))


def _refuse_options_of_a_search(ctx: click.Context) -> None:
    typed = [
        max(param.opts, key=len)
        for param in ctx.command.params
        if isinstance(param, click.Option)
        and param.name not in _UNDERSTOOD
        and ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
    ]
    if typed:
        raise UserError(
            f"{', '.join(typed)} {'belongs' if len(typed) == 1 else 'belong'} to a search, and"
            " --quick searches nothing: leave out the one or the other"
        )


def _lines(result: QuickResult, ctx: click.Context) -> list[str]:
    also = f"; {result.recipe.told()}" if result.recipe.verdict else ""
    rows = [_row(learner, run) for learner in result.learners for run in learner.runs]
    headings = ("model", "rate", "weights", "passes", "time", "best", "ended")
    steps = [
        f"nnstudy {command} {ctx.params['study']}{retyped(ctx, only=_OF_NEXT)}"
        for command, _ in result.next_steps()
    ]
    return [
        f"{result.study}: {result.conclusion()}{also}",
        words.columns([headings, *rows]),
        "",
        *(f"{learner.name}: {learner.told()}" for learner in result.learners),
        f"  at {words.parameters(result.recipe.best.params) or 'no parameters'}",
        *(f"note: {note}" for note in [*result.notes, *result.cannot_tell()]),
        f"MLflow: {result.tracking}, run {result.run_id}",
        *(
            f"{'next' if number == 0 else 'then'}: {step.replace('nnstudy', program(), 1)}  ({what})"
            for number, (step, (_, what)) in enumerate(zip(steps, result.next_steps(), strict=True))
        ),
    ]


def _row(learner: Learner, run: ShortRun) -> tuple[str, ...]:
    course = run.course
    best = course.best.values if course.best else {}
    found = words.validated(best.get("loss/valid"), best.get("accuracy/valid"))
    return (
        learner.name,
        words.parameter(run.rate) if run.rate is not None else "-",
        str(learner.weights) if learner.weights is not None else "-",
        f"{course.records[-1].epoch:.3g}" if course.records else "0",
        words.duration(course.seconds),
        found + " *" * (run is learner.best),
        course.ended,
    )


def _fields(result: QuickResult) -> dict[str, Any]:
    return {
        "study": result.study,
        "better": result.better,
        "conclusion": result.conclusion(),
        "next": [f"nnstudy {command} {result.study}" for command, _ in result.next_steps()],
        "classes": result.classes,
        "examples": result.examples,
        "valid_examples": result.valid_examples,
        "judged_examples": result.judged_examples,
        "passes": result.passes,
        "seconds_each": result.seconds_each,
        "learners": [_learner_fields(learner) for learner in result.learners],
        "notes": [*result.notes, *result.cannot_tell()],
        "seconds": result.seconds,
        "run_id": result.run_id,
        "tracking": result.tracking,
    }


def _learner_fields(learner: Learner) -> dict[str, Any]:
    return {
        "name": learner.name,
        "weights": learner.weights,
        "better": learner.better,
        "verdict": asdict(learner.verdict) if learner.verdict else None,
        "why_not": learner.why_not,
        "params": learner.best.params,
        "rate": learner.best.rate,
        "runs": [
            {
                "rate": run.rate,
                "params": run.params,
                "ended": run.course.ended,
                "seconds": run.course.seconds,
                "validations": len(run.course.records),
                "best": _finite(run.course.best.values) if run.course.best else None,
            }
            for run in learner.runs
        ],
    }


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN, which a metric may be."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
