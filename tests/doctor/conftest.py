"""A launched study, launched once, and copies of it to be damaged."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from nnstudy.doctor import Diagnosis, Places, diagnose
from nnstudy.training.checkpoints import Keeper
from tests.launching import Place, make_place, toy
from tests.launching import fresh_mlflow as fresh_mlflow
from tests.launching import new_place as new_place
from tests.launching import place as place

os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def _launched_once(tmp_path_factory: pytest.TempPathFactory, fresh_mlflow: Path) -> Path:
    """Three finished trials, whose last states are kept aside in ``last-states``."""
    directory = tmp_path_factory.mktemp("doctor")
    place = make_place(directory / "made", fresh_mlflow)

    def keep_aside(keeper: Keeper) -> None:
        aside = place.directory / "last-states" / keeper.directory.name
        aside.mkdir(parents=True)
        shutil.copy(keeper.directory / "last.safetensors", aside)
        discard(keeper)

    discard = Keeper.discard_last
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "discard_last", keep_aside)
        place.launch(toy())
    # What Optuna names is not found by its old path, or a copy would find the original.
    return place.directory.rename(directory / "launched")


@pytest.fixture
def launched(_launched_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The study ``toy``, complete, in a place of its own."""
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "place"
    shutil.copytree(_launched_once, directory, ignore=shutil.ignore_patterns("*.db", "*.db-*"))
    for name in ("optuna.db", "mlflow.db"):
        with (
            closing(sqlite3.connect(_launched_once / name)) as launched,
            closing(sqlite3.connect(directory / name)) as own,
        ):
            launched.backup(own)
    return Place(directory, f"sqlite:///{directory / 'optuna.db'}")


def places(place: Place, **others: object) -> Places:
    """Where the study of a place keeps everything."""
    return Places(
        **{
            "storage": place.storage,
            "tracking_uri": place.tracking_uri,
            "artifacts": str(place.directory / "artifacts"),
            "checkpoints": place.checkpoints,
            **others,
        }  # type: ignore[arg-type]
    )


def look(
    place: Place, *, fix: bool = False, pause: float = 0.0, **others: object
) -> list[Diagnosis]:
    """What the doctor says of the study, by default without a pause between the two looks."""
    return diagnose("toy", places(place, **others), fix=fix, pause=pause)


def differences(found: list[Diagnosis]) -> list[str]:
    """Kind, trial and text of what should be put right."""
    return [
        f"{one.finding.kind} {one.finding.trial}: {one.finding.text}"
        for one in found
        if one.remains
    ]


def client(place: Place) -> MlflowClient:
    return MlflowClient(place.tracking_uri)


def bring_back_last(place: Place, number: int) -> Path:
    """Puts the last state of a finished trial where a worker leaves it for late delivery."""
    [directory] = place.checkpoints.glob(f"toy/*/trial-{number:05d}*")
    return Path(
        shutil.copy(
            place.directory / "last-states" / directory.name / "last.safetensors", directory
        )
    )
