"""Making an ensemble a model that can be used, where that can be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nnstudy.data import Data
from nnstudy.ensembles.ensemble import Ensemble
from nnstudy.ensembles.packaging.publishing import Published, publish
from nnstudy.errors import UserError
from nnstudy.search.settings import Settings
from nnstudy.study.sources import Sources
from nnstudy.tracking import Tracker

Warn = Callable[[str], None]


def try_to_publish(
    made: Ensemble,
    code: Sources | None,
    data: Data,
    settings: Settings,
    tracker: Tracker,
    run_id: str,
    export: Path | None,
    warn: Warn,
) -> Published | None:
    """Logs the ensemble as a model. Where that cannot be, all else that was made still stands."""
    if code is None:
        warn("the ensemble is not logged as a model, since its study has no file to rebuild it by")
        return None
    try:
        published = publish(made, code, data, settings, tracker, run_id, export)
    except UserError as error:
        warn(f"the ensemble is not logged as a model: {error}")
        return None
    if (reason := published.model.not_registered) is not None:
        warn(f"the ensemble is logged as {published.model.uri}, but not registered: {reason}")
    if published.not_exported is not None:
        warn(published.not_exported)
    return published
