"""A study's ensemble, read from where MLflow keeps it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nnstudy.ensembles.packaging.answering import Answerer
from nnstudy.ensembles.packaging.package import ARTIFACT
from nnstudy.ensembles.packaging.publishing import MODEL_NAME
from nnstudy.errors import UserError
from nnstudy.tracking import Tracker
from nnstudy.tracking.models import fetch_model, latest_model, registered_model


def fetch(
    tracker: Tracker,
    study: str,
    version: int | None,
    directory: Path,
    say: Callable[[str], None],
    device: str,
) -> Answerer:
    """Reads a study's ensemble from MLflow.

    Args:
        tracker: MLflow.
        study: Name of the study.
        version: Of the registered model; None: the newest ensemble, registered or not.
        directory: Where its files are put.
        say: Told which code is run to rebuild the networks.
        device: Where to compute.

    Raises:
        UserError: If there is none, or its files are missing or damaged.
    """
    if version is None:
        model = latest_model(tracker, study, MODEL_NAME)
    else:
        model = registered_model(tracker, study, version)
    if model is None:
        raise UserError(
            f"MLflow at {tracker.masked_uri} has no ensemble of the study {study!r} that was"
            f" packed: make one with nnstudy ensemble {study}, or give the --tracking-uri where it"
            " is"
        )
    files = fetch_model(tracker, model, directory)
    return Answerer.load(files / "artifacts" / ARTIFACT, say, device)
