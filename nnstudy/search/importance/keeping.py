"""What matters in a stage, kept with its run in MLflow."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial

from nnstudy.search.importance.importances import StageImportance, stage_importance
from nnstudy.search.importance.pictures import draw_contour, draw_slices
from nnstudy.search.importance.words import as_markdown, strongest
from nnstudy.search.plan import Plan
from nnstudy.tracking import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)

FOLDER = "importance"


def measured(plan: Plan, trials: Sequence[FrozenTrial]) -> StageImportance | None:
    """Returns what matters in a stage, or None where a defect is in the way.

    A defect must not cost a launch, whose trials are all finished; it is told as a warning.
    """
    try:
        return stage_importance(plan, trials)
    except Exception as error:
        _warn(plan, error)
        return None


def log_importance(
    run: Run, plan: Plan, trials: Sequence[FrozenTrial], found: StageImportance
) -> None:
    """Logs a table and the pictures, where something can be said."""
    if not found.groups:
        return
    run.log_text(as_markdown(found), f"{FOLDER}/importance.md")
    try:
        for name, figure in figures(plan, trials, found):
            run.log_figure(figure, f"{FOLDER}/{name}")
    except Exception as error:
        _warn(plan, error)


def figures(
    plan: Plan, trials: Sequence[FrozenTrial], found: StageImportance, note: str = ""
) -> Iterator[tuple[str, Figure]]:
    """Yields the pictures of a stage by their file names: slices, and the two strongest.

    Args:
        plan: The stage.
        trials: Its trials.
        found: What matters in it.
        note: Stands above the two strongest.
    """
    names = strongest(found)
    known = {
        importance.parameter: f"{importance.share:.2f}" if importance.is_told else "(by chance?)"
        for group in reversed(found.groups)
        for importance in group.importances
    }
    slices = draw_slices(plan, trials, names, known)
    if slices is not None:
        yield "slices.png", slices
    contour = draw_contour(plan, trials, names[0], names[1], note) if len(names) > 1 else None
    if contour is not None:
        yield "contour.png", contour


def _warn(plan: Plan, error: Exception) -> None:
    _log.warning(
        "what matters in stage %s could not be told, which is a defect of nnstudy (%s: %s); all"
        " else is kept",
        plan.name,
        type(error).__name__,
        error,
    )
