"""Trials that do nothing, so that what is left is the work of searching and remembering."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nnstudy import Stage, Study
from tests.launching import blobs


def recipe(trial: Any, data: Any) -> Iterator[dict[str, float]]:
    return iter([{"loss/valid": trial.suggest_float("x", 0.0, 1.0)}])


study = Study(
    "noop",
    recipe,
    data=blobs,
    metric="loss/valid",
    stages=[Stage(trials=500, epochs=1, sampler="random", pruner="none")],
)
