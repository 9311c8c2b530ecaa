"""What a worker process is told: one line of JSON on its standard input.

Neither on a command line nor in an environment, where a password in a URL would be seen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnstudy.search.settings import Settings


@dataclass(frozen=True)
class Orders:
    """Orders to a worker.

    Attributes:
        reference: What names the study; None if it comes pickled.
        name: The study's name, which a launch may have changed.
        storage: URL of Optuna's storage.
        tracking_uri: URI of MLflow.
        artifacts: Root of MLflow's artifacts.
        data_directory: Where data files are.
        settings: Device, checkpoints and their rules.
        workers: How many work beside each other, for what is shown.
        stages: Names of those of the study to work on, each with those that widen its ranges, one
            after another; None: all that are stored.
        pickled: File with the study, for a study made in a notebook.
    """

    reference: str | None
    name: str
    storage: str
    tracking_uri: str
    artifacts: str | None
    data_directory: Path | None
    settings: Settings
    workers: int = 1
    stages: Sequence[str] | None = None
    pickled: Path | None = None

    def to_json(self) -> str:
        """Returns the orders as one line of JSON."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, line: str) -> Orders:
        """Makes the orders that ``to_json`` gave."""
        fields: dict[str, Any] = json.loads(line)
        settings = fields.pop("settings")
        settings["checkpoints"] = Path(settings["checkpoints"])
        for name in ("data_directory", "pickled"):
            fields[name] = Path(fields[name]) if fields[name] else None
        return cls(**fields, settings=Settings(**settings))
