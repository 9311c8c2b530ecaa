"""The study's code, by which an ensemble's networks are rebuilt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nnstudy.search.rebuilding import load_planned_study
from nnstudy.search.stored import StoredStage
from nnstudy.study import Study
from nnstudy.study.sources import Sources
from nnstudy.tracking import Tracker

Warn = Callable[[str], None]


def load_code(
    stages: Sequence[StoredStage],
    study: Study | str | None,
    kept_in: Tracker | None,
    warn: Warn,
) -> tuple[Study, Sources | None]:
    """Loads a stored study.

    Args:
        stages: As they are stored.
        study: The study, or where it is here; None: as it was named at its launch.
        kept_in: MLflow, whose copy of the code is run instead; None: it is not.
        warn: Told of code that has changed, and of kept code that is run.

    Returns:
        The study, and its code; None of a study that is no file's.

    Raises:
        UserError: If it cannot be loaded.
    """
    if isinstance(study, Study):
        return study, None
    if kept_in is not None:
        return _load_kept(stages, kept_in, warn)
    versions = {tuple(sorted(stage.plan.sources.items())): stage.plan for stage in stages}
    for plan in list(versions.values())[1:]:
        load_planned_study(plan, warn, reference=study)
    return load_planned_study(stages[0].plan, warn, reference=study)


def _load_kept(
    stages: Sequence[StoredStage], kept_in: Tracker, warn: Warn
) -> tuple[Study, Sources]:
    """Loads the code of the last stage, which is the newest; that others had another is told."""
    latest = stages[-1].plan
    for stage in stages[:-1]:
        if stage.plan.sources != latest.sources:
            warn(f"{stage.plan.name!r} ran with other code than {latest.name!r}, whose code is run")
    return load_planned_study(latest, warn, kept_in=kept_in)
