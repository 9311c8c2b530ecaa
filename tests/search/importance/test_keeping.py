"""What the run of a stage has of importance."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from PIL import Image

from nnstudy.search.importance import keeping
from nnstudy.search.importance.keeping import measured
from nnstudy.tracking import Tracker
from tests.launching import Place, toy

from .objectives import plan_of, true_trials


@pytest.mark.slow
def test_the_run_of_a_finished_stage_has_a_line_a_table_and_pictures(place: Place) -> None:
    place.launch(toy(trials=12, epochs=1, sampler="random"))
    stage = place.stage_run()
    note = stage.data.tags["mlflow.note.content"]
    assert "\nWhat mattered: " in note
    assert "(PED-ANOVA, 12 complete trials)." in note
    client = Tracker(place.tracking_uri).client
    folder = Path(client.download_artifacts(stage.info.run_id, "importance"))
    assert {file.name for file in folder.iterdir()} == {
        "importance.md",
        "slices.png",
        "contour.png",
    }
    table = (folder / "importance.md").read_text()
    for name in ("lr", "units", "batch_size"):
        assert f"| {name} | " in table
    assert "12 complete trials are thin evidence" in table
    with Image.open(folder / "slices.png") as picture:
        assert picture.size == (1200, 370)
    with Image.open(folder / "contour.png") as picture:
        assert picture.size == (700, 500)


def test_a_stage_of_few_trials_has_none(place: Place) -> None:
    place.launch(toy(trials=2, epochs=1))
    stage = place.stage_run()
    assert "mattered" not in stage.data.tags["mlflow.note.content"]
    assert Tracker(place.tracking_uri).client.list_artifacts(stage.info.run_id, "importance") == []


def test_a_defect_is_told_and_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(keeping, "stage_importance", broken)
    with caplog.at_level(logging.WARNING):
        assert measured(plan_of(), true_trials()) is None
    assert "which is a defect of nnstudy (ZeroDivisionError: by zero)" in caplog.text
