"""``nnstudy predict`` on an ensemble of a study that was launched."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnstudy.data import datasets

from .conftest import Run


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    images = next(datasets.digits().examples.raw_inputs())[:3, 0].numpy()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


@pytest.mark.slow
def test_answers_are_a_table_a_file_or_json(launched: Path, pictures: Path, run: Run) -> None:
    ensemble = run("ensemble", "tiny", "--device", "cpu", "--select", "all")
    assert ", version 1 of tiny" in ensemble.stdout
    done = run("predict", "tiny", str(pictures), "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "running the study's code kept with the ensemble of study 'tiny'" in done.stderr
    headings, *rows = [line.split() for line in done.stdout.splitlines()]
    assert headings == ["input", "class", "probability", "entropy", "disagreement"]
    assert [row[0] for row in rows] == ["0.png", "1.png", "2.png"]

    told = json.loads(run("predict", "tiny", str(pictures), "--json").stdout)
    assert [one["input"] for one in told] == ["0.png", "1.png", "2.png"]
    assert [f"{one['probabilities'][one['class']]:.4f}" for one in told] == [r[2] for r in rows]

    output = launched / "answers.csv"
    assert "3 answers" in run("predict", "tiny", str(pictures), "--output", str(output)).stdout
    with output.open() as file:
        written = list(csv.DictReader(file))
    assert [row["class_name"] for row in written] == [one["class_name"] for one in told]
    found = [[float(row[f"probabilities/{name}"]) for name in range(10)] for row in written]
    np.testing.assert_allclose(found, [one["probabilities"] for one in told])


@pytest.fixture
def file_is_gone(_launched_once: Path) -> Iterator[None]:
    """The study's file is not where it was launched from any more."""
    file = _launched_once / "tiny.py"
    hidden = file.rename(file.with_suffix(".hidden"))
    yield
    hidden.rename(file)


@pytest.mark.slow
@pytest.mark.usefixtures("file_is_gone")
def test_without_its_file_a_study_is_asked_by_the_code_that_mlflow_keeps(
    launched: Path, run: Run
) -> None:
    refused = run("ensemble", "tiny", "--device", "cpu")
    assert refused.exit_code == 2
    assert "--kept-code runs the copy that MLflow keeps" in refused.stderr
    done = run("ensemble", "tiny", "--device", "cpu", "--kept-code", "--export", "tiny.pt2")
    assert done.exit_code == 0, done.output
    assert "running the study's code kept with 'tiny/search' in MLflow" in done.stderr
    assert "exported:   tiny.pt2" in done.stdout
    assert (launched / "tiny.pt2").exists()
    assert "accuracy" in run("evaluate", "tiny", "--device", "cpu", "--kept-code").stdout


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("tiny", "pictures"), "has no ensemble of the study 'tiny'"),
        (("tiny", "pictures", "--output", "a.xlsx"), "must end in .csv or .json"),
        (("tiny", "pictures", "--model-version", "3"), "has no version 3 of the model 'tiny'"),
        (("tiny", "pictures", "--tracking-uri", "sqlite:///no.db"), "there is no MLflow database"),
    ],
)
def test_bad_input_is_refused(
    launched: Path, pictures: Path, run: Run, wrong: tuple[str, ...], message: str
) -> None:
    result = run("predict", *wrong)
    assert result.exit_code == 2
    assert message in result.stderr
