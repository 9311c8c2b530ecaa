"""What mattered, told of stored studies."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from PIL import Image

from nnstudy.errors import UserError
from nnstudy.report.importance import study_importance
from nnstudy.search.storage import open_storage
from tests.search.importance.objectives import plan_of, tried, true_trials, truth


def store(
    storage: RDBStorage, stage: str, position: int, trials: list[optuna.trial.FrozenTrial]
) -> None:
    study = optuna.create_study(study_name=f"toy/{stage}", storage=storage)
    plan_of(stage=stage, position=position).save(study)
    study.add_trials(trials)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> RDBStorage:
    """A stage of many trials, searched by Optuna in a database, and one of few."""
    made = open_storage(f"sqlite:///{tmp_path_factory.mktemp('stored') / 'optuna.db'}")
    study = optuna.create_study(study_name="toy/coarse", storage=made)
    plan_of(stage="coarse").save(study)
    tried(truth, 30, study=study)
    store(made, "fine", 1, list(true_trials()[:3]))
    return made


def test_each_stage_is_told_of_in_its_order(storage: RDBStorage) -> None:
    coarse, fine = study_importance(storage, "toy")
    assert (coarse.importance.stage, fine.importance.stage) == ("coarse", "fine")
    assert len(coarse.importance.groups) == 1
    assert coarse.interaction is not None
    assert coarse.interaction.trials <= 30
    assert (fine.importance.groups, fine.interaction, fine.files) == ([], None, [])
    assert coarse.files == []


def test_tables_and_pictures_are_written_in_a_folder_for_each_stage(
    storage: RDBStorage, tmp_path: Path
) -> None:
    reports = study_importance(storage, "toy", stage="coarse", output=tmp_path / "new" / "folder")
    [report] = reports
    folder = tmp_path / "new" / "folder" / "coarse"
    assert report.files == [
        folder / "importance.md",
        folder / "slices.png",
        folder / "contour.png",
    ]
    assert "lr" in (folder / "importance.md").read_text()
    for name in ("slices.png", "contour.png"):
        with Image.open(folder / name) as picture:
            assert 800 <= picture.width <= 1500
            assert 500 <= picture.height <= 1000


def test_what_cannot_be_told_is_refused_with_the_reason(
    storage: RDBStorage, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"no stage 'last'; it has: coarse, fine"):
        study_importance(storage, "toy", stage="last")
    with pytest.raises(UserError, match=r"fine: nothing can be said from 3 complete trials"):
        study_importance(storage, "toy", stage="fine")
    with pytest.raises(UserError, match="no study 'other' is stored"):
        study_importance(storage, "other")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        study_importance(storage, "toy", stage="coarse", output=tmp_path / "file")
