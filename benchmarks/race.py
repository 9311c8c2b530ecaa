"""Random search, a grid and TPE on the shipped study of digits, from five seeds each.

The space has four numbers and two choices, so that a grid of 24 points has two values of one of the
numbers and one of each other. Nothing is expected beforehand: which of them is ahead, and whether
five seeds can tell, is what is measured.

    python benchmarks/race.py
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import write_result

from nnstudy.engines import Settings, race

SAMPLERS = ("random", "grid", "tpe")
SEEDS = 5
TRIALS = 24
EPOCHS = 3


def short(result: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what follows from the rest, and digits that nothing depends on."""
    for contender in result["contenders"]:
        del contender["by_seconds"]
        for key in ("best", "elapsed"):
            contender[key] = [
                [value if value is None else round(value, 4) for value in search]
                for search in contender[key]
            ]
    return result


def main() -> int:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        done = race(
            "digits",
            samplers=SAMPLERS,
            seeds=SEEDS,
            trials=TRIALS,
            epochs=EPOCHS,
            output=place / "race",
            storage=f"sqlite:///{place}/optuna.db",
            tracking_uri=f"sqlite:///{place}/mlflow.db",
            artifacts=str(place / "artifacts"),
            settings=Settings(checkpoints=place / "checkpoints", device="cpu"),
            emit=lambda event: event.kind in ("end", "epoch", "trial") or print(event.to_json()),
        )
    assert done.result is not None
    print(done.result.to_markdown())
    print(write_result("race", short(done.result.to_dict())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
