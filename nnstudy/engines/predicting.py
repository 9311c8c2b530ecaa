"""Asking a study's ensemble, which is read from MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnstudy.data.files import read_inputs
from nnstudy.ensembles.packaging.fetching import fetch
from nnstudy.errors import UserError
from nnstudy.tracking import Tracker
from nnstudy.tracking.location import Location

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PredictResult:
    """What an ensemble answers.

    Attributes:
        study: Name of the study.
        digest: Of the ensemble.
        classes: Names of the classes; empty for numbers.
        names: What each input is called.
        rows: A row for each input; see ``Answerer.answer``.
    """

    study: str
    digest: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    rows: pd.DataFrame


def predict(
    name: str,
    data: Path | Any,
    *,
    version: int | None = None,
    tracking_uri: str | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = lambda text: None,
) -> PredictResult:
    """Asks the ensemble of a study.

    Args:
        name: Name of the study.
        data: A file or folder, see ``read_inputs``; or inputs as the study's data source gives
            them.
        version: Of the registered model. Default: the newest ensemble.
        tracking_uri: URI of MLflow.
        device: Where to compute.
        say: Told, before it is run, which code rebuilds the networks.

    Raises:
        UserError: If there is no such ensemble, its files are missing or damaged, or the data do
            not fit.
    """
    file = Location.resolve(tracking_uri).sqlite_file
    if file is not None and not file.exists():
        raise UserError(f"there is no MLflow database {file}: give the --tracking-uri of the study")
    with tempfile.TemporaryDirectory(prefix="nnstudy-") as scratch:
        answerer = fetch(Tracker(tracking_uri), name, version, Path(scratch), say, device)
    package = answerer.package
    if isinstance(data, Path):
        read = read_inputs(data, tuple(package.data["shape"]))
        names, inputs = read.names, read.values
    else:
        inputs = data
        names = tuple(map(str, range(len(data))))
    return PredictResult(
        name, package.digest, tuple(package.class_names), names, answerer.answer(inputs)
    )
