"""Where a study keeps everything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """Where a study keeps everything; None means the defaults.

    Attributes:
        storage: URL of Optuna's storage.
        tracking_uri: URI of MLflow.
        artifacts: Root of MLflow's artifacts.
        checkpoints: Directory of the checkpoints.
        upload: Whether checkpoints are kept as MLflow artifacts instead.
        data_directory: Where data files are.
    """

    storage: str | None = None
    tracking_uri: str | None = None
    artifacts: str | None = None
    checkpoints: Path = Path("mlruns/checkpoints")
    upload: bool = False
    data_directory: Path | None = None
