from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import Scene, scene_at
from tests.launching import fresh_mlflow, make_place

__all__ = ["fresh_mlflow"]


@pytest.fixture
def scene(fresh_mlflow: Path, tmp_path: Path) -> Iterator[Scene]:
    """A scene with everything in SQLite."""
    with scene_at(make_place(tmp_path / "place", fresh_mlflow)) as made:
        yield made


@pytest.fixture
def any_scene(fresh_mlflow: Path, tmp_path: Path, any_storage_url: str) -> Iterator[Scene]:
    """A scene with Optuna's storage in SQLite, and one with it in PostgreSQL."""
    with scene_at(make_place(tmp_path / "place", fresh_mlflow, any_storage_url)) as made:
        yield made
