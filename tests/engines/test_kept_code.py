"""An ensemble rebuilt from Optuna's storage, MLflow and the checkpoints alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nnstudy.engines import EnsembleResult, ensemble
from nnstudy.errors import UserError
from nnstudy.search.evaluation import evaluate_trial
from nnstudy.search.plan import Plan
from nnstudy.search.settings import Settings
from nnstudy.search.storage import open_storage
from nnstudy.tracking import Tracker
from tests.launching import Place, make_place

STUDY = """
from functools import partial

import torch
from nnstudy import Recipe, Stage, Study, datasets
from widths import network


def recipe(trial, data):
    lr = trial.suggest_float("lr", 0.05, 1.0, log=True)
    return Recipe(network=network(data), optimizer=partial(torch.optim.SGD, lr=lr))


mine = Study("kept", recipe, data=datasets.digits, stages=[Stage("search", trials=3, epochs=1)])
"""

WIDTHS = """
from nnstudy import models


def network(data):
    return models.mlp(data.shape, [8], data.outputs)
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory, fresh_mlflow: Path) -> Place:
    """A study whose files are gone since, and whose checkpoints lie elsewhere."""
    place = make_place(tmp_path_factory.mktemp("moved") / "place", fresh_mlflow)
    launch(place, STUDY)
    (place.directory / "study.py").unlink()
    (place.directory / "widths.py").unlink()
    place.checkpoints.rename(place.directory / "carried")
    return place


def launch(place: Place, study: str, **options: Any) -> None:
    (place.directory / "widths.py").write_text(WIDTHS)
    (place.directory / "study.py").write_text(study)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.directory)
        place.launch(str(place.directory / "study.py"), **options)


def made(place: Place, warnings: list[str] | None = None, **asked: Any) -> EnsembleResult:
    told = [] if warnings is None else warnings
    options = place.options(checkpoints=place.directory / "carried")
    return ensemble(
        "kept",
        output=place.directory / "ensembles",
        warn=told.append,
        **{"select": "all", "model": False, **options, **asked},
    )


def kept_in_mlflow(place: Place) -> Path:
    """The code among the artifacts of the stage's run."""
    run = Tracker(place.tracking_uri).client.get_run(Plan.of(place.study("kept/search")).run_id)
    return Path(run.info.artifact_uri.removeprefix("file://")) / "code"


@contextmanager
def changed(file: Path, content: str) -> Iterator[None]:
    before = file.read_text()
    try:
        file.write_text(content)
        yield
    finally:
        file.write_text(before)


def test_without_its_file_the_study_is_run_from_mlflow_when_that_is_asked_for(
    moved: Place,
) -> None:
    with pytest.raises(UserError, match=r"(?s)no study file .*--kept-code runs the copy that MLf"):
        made(moved)
    warnings: list[str] = []
    result = made(moved, warnings, kept_code=True, model=True)
    assert len(result.ensemble.members) == 3
    assert result.published is not None
    assert any(
        "running the study's code kept with 'kept/search' in MLflow to rebuild its networks:"
        " study.py, widths.py (hash" in warning
        for warning in warnings
    )


def test_a_trial_is_measured_with_the_kept_code_too(moved: Place) -> None:
    said: list[str] = []
    found = evaluate_trial(
        open_storage(moved.storage),
        "kept",
        settings=Settings(device="cpu", checkpoints=moved.directory / "carried"),
        tracking_uri=moved.tracking_uri,
        artifacts=str(moved.directory / "artifacts"),
        kept_code=True,
        warn=said.append,
    )
    assert found.scores["accuracy"] == moved.study("kept/search").best_value
    assert "verified" in said[0]


def test_kept_code_that_is_not_what_was_launched_is_not_run(moved: Place) -> None:
    file = kept_in_mlflow(moved) / "widths.py"
    with (
        changed(file, "raise SystemExit('it was run')"),
        pytest.raises(UserError, match=r"not what the study ran with \(widths.py changed\)"),
    ):
        made(moved, kept_code=True)


def test_what_lies_beside_kept_code_is_not_imported(moved: Place) -> None:
    stranger = kept_in_mlflow(moved) / "torch.py"
    stranger.write_text("raise SystemExit('it was run')")
    try:
        assert made(moved, kept_code=True).ensemble.members
    finally:
        stranger.unlink()


def test_code_that_mlflow_lacks_is_told(moved: Place) -> None:
    folder = kept_in_mlflow(moved)
    hidden = folder.rename(folder.with_name("hidden"))
    try:
        with pytest.raises(UserError, match=r"has no code in it.*give the study file with --study"):
            made(moved, kept_code=True)
    finally:
        hidden.rename(folder)


def test_two_sources_of_code_are_refused(moved: Place) -> None:
    with pytest.raises(UserError, match="leave out --study, or it"):
        made(moved, kept_code=True, study="study.py")


@pytest.mark.slow
def test_of_a_file_that_was_changed_between_launches_the_later_copy_is_run(
    new_place: Any,
) -> None:
    place = new_place("later")
    launch(place, STUDY)
    launch(place, f"{STUDY}\n# changed\n", trials=4)
    (place.directory / "study.py").unlink()
    place.checkpoints.rename(place.directory / "carried")
    result = made(place, kept_code=True)
    assert kept_in_mlflow(place).with_name(f"code-{result.ensemble.code[:8]}").is_dir()
    assert len(result.ensemble.members) == 4
