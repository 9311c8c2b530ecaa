"""Checking a study without launching it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna

from nnstudy.engines.options import LaunchOptions
from nnstudy.engines.subject import Subject, default_workers
from nnstudy.preflight import BUDGET_SECONDS, Report
from nnstudy.search.events import Emit, ignore
from nnstudy.study import Study
from nnstudy.study.loading import load_study


def check(
    study: Study | str,
    *,
    budget: float = BUDGET_SECONDS,
    output: Path | None = None,
    emit: Emit = ignore,
    **options: Any,
) -> Report:
    """Checks a study as a launch does before it begins; neither Optuna nor MLflow hear of it.

    Args:
        study: A study, or what names one: a name, or the path of a study file.
        budget: Seconds after which no check is begun any more.
        output: Directory for ``report.json``, ``report.md`` and ``examples.png``, a picture of
            examples as the network gets them; None: they are not written.
        emit: Hears each result as soon as it stands, as an ``Event`` of kind ``check``.
        options: Fields of ``LaunchOptions`` that say what would be launched.

    Returns:
        What was found. Where it passes, a launch does not check again until the study file
        or the data change.

    Raises:
        UserError: If the study cannot be loaded, or none of the sampled recipes be trained.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    given = LaunchOptions(**options)
    loaded = load_study(study) if isinstance(study, str) else None
    declared = loaded.study if loaded else study
    assert isinstance(declared, Study)
    subject = Subject(declared, loaded, given, emit)
    conditions = subject.conditions()
    rehearsal = subject.rehearse(conditions)
    workers = given.workers or default_workers(given.settings.device)
    report = subject.check(conditions, rehearsal, workers, budget)
    if output is not None:
        subject.write_files(report, output, conditions)
    return report
