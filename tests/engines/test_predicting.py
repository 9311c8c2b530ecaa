"""A packed ensemble of a study that was really searched: what is in it, and what it answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors import safe_open

from nnstudy.data import Split, datasets, load
from nnstudy.engines import EnsembleResult, ensemble, predict
from nnstudy.ensembles.packaging import publishing
from nnstudy.ensembles.packaging.answering import Answerer
from nnstudy.ensembles.packaging.package import Package
from nnstudy.errors import UserError
from nnstudy.tracking import Tracker, TrackingAway
from tests.launching import Place, make_place
from tests.tracking.served import Server

DIGITS = """
from functools import partial

import torch
from beside import hidden

from nnstudy import Recipe, Stage, Study, datasets, models


def recipe(trial, data):
    lr = trial.suggest_float("lr", 0.05, 1.0, log=True)
    return Recipe(
        network=models.mlp(data.shape, hidden(trial), data.outputs),
        optimizer=partial(torch.optim.SGD, lr=lr),
        batch_size=min(32, len(data.train)),
    )


study = Study(
    "digits-here", recipe, data=datasets.digits, stages=[Stage("search", trials=4, epochs=2)]
)
"""

BESIDE = """
def hidden(trial):
    return [trial.suggest_categorical("units", [8, 16])]
"""

NUMBERS = """
from functools import partial

import torch

from nnstudy import Recipe, Split, Stage, Study, datasets, models


def recipe(trial, data):
    lr = trial.suggest_float("lr", 0.01, 0.1, log=True)
    return Recipe(
        network=models.mlp(data.shape, [8], data.outputs),
        optimizer=partial(torch.optim.SGD, lr=lr),
    )


study = Study(
    "numbers",
    recipe,
    data=datasets.diabetes,
    stages=[Stage("search", trials=3, epochs=2)],
    split=Split(validation=0.4, selection=0.5),
)
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, fresh_mlflow: Path) -> Place:
    place = make_place(tmp_path_factory.mktemp("searched") / "place", fresh_mlflow)
    (place.directory / "beside.py").write_text(BESIDE)
    launch(place, DIGITS)
    return place


@pytest.fixture(scope="module")
def packed(searched: Place) -> EnsembleResult:
    """The first ensemble of the study."""
    return made(searched, "digits-here")


@pytest.fixture
def package(searched: Place, packed: EnsembleResult, tmp_path: Path) -> Path:
    """A copy of what was packed, to be damaged."""
    return model_of(searched, packed, tmp_path / "fetched") / "artifacts" / "ensemble"


def launch(place: Place, text: str) -> None:
    file = place.directory / "study.py"
    file.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.directory)
        place.launch(str(file))


def made(
    place: Place, name: str, warnings: list[str] | None = None, **asked: Any
) -> EnsembleResult:
    told = [] if warnings is None else warnings
    output = place.directory / "ensembles"
    options = {"select": "all", **place.options(), **asked}
    return ensemble(name, output=output, warn=told.append, **options)


def model_of(place: Place, result: EnsembleResult, directory: Path) -> Path:
    """The files of a logged model."""
    assert result.published is not None
    client = Tracker(place.tracking_uri).client
    location = client.get_logged_model(result.published.model.model_id).artifact_location
    subprocess.run(
        ["cp", "-r", location.removeprefix("file://"), str(directory)], check=True, timeout=60
    )
    return directory


def digits(count: int = 40) -> np.ndarray[Any, Any]:
    source = datasets.digits()
    return next(source.examples.raw_inputs())[:count].numpy()


def test_it_answers_what_the_ensemble_answered(searched: Place, packed: EnsembleResult) -> None:
    part = load(datasets.digits).selection
    answers = packed.ensemble.pool.answers
    wanted = packed.ensemble.fitted.predict(answers).mean
    result = predict("digits-here", part.inputs, tracking_uri=searched.tracking_uri)  # type: ignore[attr-defined]
    np.testing.assert_allclose(np.array(result.rows["probabilities"].tolist()), wanted, atol=1e-6)
    assert result.rows["class"].tolist() == wanted.argmax(1).tolist()
    assert result.rows["class_name"].tolist() == [str(c) for c in wanted.argmax(1)]
    assert (result.rows["entropy"] > 0).all()
    assert (result.rows["disagreement"] >= 0).all()


def test_nothing_is_pickled(searched: Place, packed: EnsembleResult, tmp_path: Path) -> None:
    files = [
        file for file in model_of(searched, packed, tmp_path / "model").rglob("*") if file.is_file()
    ]
    kinds = {file.suffix or file.name for file in files}
    text = {".py", ".json", ".yaml", ".txt", ".typed", "MLmodel"}
    assert kinds == {*text, ".safetensors"}
    for file in files:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="np") as weights:
                assert list(weights.keys())
        else:
            assert "\0" not in file.read_text()


def test_the_model_has_signature_example_source_and_pinned_requirements(
    searched: Place, packed: EnsembleResult, tmp_path: Path
) -> None:
    directory = model_of(searched, packed, tmp_path / "model")
    model = yaml.safe_load((directory / "MLmodel").read_text())
    assert json.loads(model["signature"]["inputs"])[0]["tensor-spec"]["shape"] == [-1, 1, 8, 8]
    example = json.loads((directory / "input_example.json").read_text())
    assert np.array(example).shape == (2, 1, 8, 8)
    assert (directory / "code" / "nnstudy" / "ensembles").is_dir()
    requirements = (directory / "requirements.txt").read_text().split()
    assert all("==" in line for line in requirements)
    assert {"torch", "optuna", "mlflow"} <= {line.partition("==")[0] for line in requirements}
    assert packed.published is not None
    client = Tracker(searched.tracking_uri).client
    version = client.get_model_version("digits-here", "1")
    assert (version.run_id, version.tags["nnstudy.model"]) == (
        packed.run_id,
        packed.published.model.model_id,
    )
    outputs = client.get_run(packed.run_id).outputs.model_outputs
    assert packed.published.model.model_id in [output.model_id for output in outputs]


def test_pyfunc_answers_what_predict_answers(
    searched: Place, packed: EnsembleResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = mlflow.pyfunc.load_model(str(model_of(searched, packed, tmp_path / "model")))
    assert "running the study's code kept with the ensemble" in caplog.text
    inputs = digits()
    wanted = predict("digits-here", inputs, tracking_uri=searched.tracking_uri).rows
    pd.testing.assert_frame_equal(model.predict(inputs), wanted)
    with pytest.raises(mlflow.exceptions.MlflowException, match="does not match expected shape"):
        model.predict(inputs[:, :, :4])


def test_each_ensemble_is_a_version_and_the_newest_one_is_asked(
    searched: Place, packed: EnsembleResult
) -> None:
    second = made(searched, "digits-here", members=2)
    assert (
        packed.published and packed.published.model.version,
        second.published and second.published.model.version,
    ) == (1, 2)
    asked = {"tracking_uri": searched.tracking_uri}
    try:
        assert predict("digits-here", digits(2), **asked).digest == second.ensemble.digest
        assert (
            predict("digits-here", digits(2), version=1, **asked).digest == packed.ensemble.digest
        )
    finally:
        assert second.published is not None
        Tracker(searched.tracking_uri).client.delete_logged_model(second.published.model.model_id)
    assert predict("digits-here", digits(2), **asked).digest == packed.ensemble.digest


def test_that_code_is_run_is_said_before_it_is(package: Path) -> None:
    said: list[str] = []
    study = package / "code" / "study.py"
    description = Package.load(package)
    Answerer.load(package, said.append)
    assert len(said) == 1
    assert f"beside.py, study.py (hash {description.code_hash}, verified)" in said[0]
    study.write_text(study.read_text() + "\nraise SystemExit('it was run')\n")
    with pytest.raises(UserError, match=r"not what the study ran with \(study.py changed\)"):
        Answerer.load(package, said.append)
    assert len(said) == 1


def test_what_lies_beside_the_code_is_not_imported(package: Path) -> None:
    (package / "code" / "torch.py").write_text("raise SystemExit('it was run')")
    Answerer.load(package, say=lambda text: None)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("code/beside.py", None, "kept code .*beside.py cannot be read"),
        ("package.json", None, "there is no packed ensemble"),
        ("package.json", b"{}", "is damaged"),
        ("package.json", b'{"version": 99, "nnstudy": "9.0"}', r"newer nnstudy \(9.0\)"),
        ("members/00", None, "weights .* cannot be read"),
        ("members/00", b"damaged", "weights .* are damaged: their hash is"),
    ],
)
def test_missing_and_damaged_files_are_named(
    package: Path, file: str, content: bytes | None, message: str
) -> None:
    (found,) = package.glob(f"{file}*")
    found.unlink() if content is None else found.write_bytes(content)
    with pytest.raises(UserError, match=message):
        Answerer.load(package, say=lambda text: None)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"have the shape \(3, 8, 8\); .* takes \(N, 1, 8, 8\)"),
        (np.zeros((3, 1, 8, 8)), "takes bytes, 0 to 255"),
        (np.full((3, 1, 8, 8), 300), "go beyond 0 to 255"),
        (np.zeros((0, 1, 8, 8), np.uint8), "there are no inputs"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    searched: Place, packed: EnsembleResult, inputs: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        predict("digits-here", inputs, tracking_uri=searched.tracking_uri)


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("other", {}, "has no ensemble of the study 'other'"),
        ("digits-here", {"version": 77}, "no version 77 of the model 'digits-here'"),
        ("digits-here", {"tracking_uri": "sqlite:///none.db"}, "there is no MLflow database"),
    ],
)
def test_what_is_not_there_is_named(
    searched: Place, packed: EnsembleResult, name: str, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        predict(name, digits(1), **{"tracking_uri": searched.tracking_uri, **asked})
    assert not Path("none.db").exists()


def test_a_model_whose_files_are_gone_is_told(searched: Place) -> None:
    lost = made(searched, "digits-here", members=3)
    assert lost.published is not None
    client = Tracker(searched.tracking_uri).client
    place = client.get_logged_model(lost.published.model.model_id).artifact_location
    Path(place.removeprefix("file://")).rename(searched.directory / "gone")
    with pytest.raises(UserError, match=r"files of the model .* are missing at"):
        predict("digits-here", digits(1), tracking_uri=searched.tracking_uri)
    client.delete_logged_model(lost.published.model.model_id)


def test_a_store_of_artifacts_that_takes_nothing_is_told(searched: Place) -> None:
    models = searched.directory / "artifacts" / "digits-here" / "models"
    hidden = models.rename(models.with_name("hidden"))
    models.touch()  # a file where a directory is needed
    try:
        warnings: list[str] = []
        assert made(searched, "digits-here", warnings, members=2).published is None
        assert "not logged as a model: MLflow did not take the model's files" in warnings[-1]
    finally:
        models.unlink()
        hidden.rename(models)
    assert predict("digits-here", digits(1), tracking_uri=searched.tracking_uri)


def test_where_there_is_no_registry_the_model_is_logged_and_that_is_said(
    searched: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    warnings: list[str] = []
    result = made(searched, "digits-here", warnings, members=2)
    assert result.published is not None
    assert result.published.model.version is None
    assert any("but not registered" in warning for warning in warnings)
    assert predict("digits-here", digits(1), tracking_uri=searched.tracking_uri)
    Tracker(searched.tracking_uri).client.delete_logged_model(result.published.model.model_id)


def test_an_ensemble_that_cannot_be_packed_is_made_all_the_same(
    searched: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    away = TrackingAway("MLflow is away")

    def refuse(*_args: Any, **_options: Any) -> None:
        raise away

    monkeypatch.setattr(publishing, "log_model", refuse)
    result = made(searched, "digits-here", warnings)
    assert result.published is None
    assert "the ensemble is not logged as a model: MLflow is away" in warnings[-1]
    assert result.file.exists()


@pytest.mark.slow
def test_what_is_exported_answers_alike_without_the_studys_code(
    searched: Place, packed: EnsembleResult, tmp_path: Path
) -> None:
    file = tmp_path / "out" / "ensemble.pt2"
    result = made(searched, "digits-here", export=file)
    assert result.describe()["exported"] == str(file)
    assert result.published is not None
    Tracker(searched.tracking_uri).client.delete_logged_model(result.published.model.model_id)
    with zipfile.ZipFile(file) as archive:
        starts = {archive.read(name)[:2] for name in archive.namelist()}
    assert not starts & {b"PK", b"\x80\x02"}, "a pickle, alone or in an archive of its own"
    script = (
        "import json, sys, numpy, torch;"
        "program = torch.export.load(sys.argv[1]).module();"
        "inputs = torch.from_numpy(numpy.load(sys.argv[2]));"
        "print(json.dumps(program(inputs)['probabilities'].tolist()));"
        "assert not any(name.startswith('nnstudy') for name in sys.modules)"
    )
    np.save(tmp_path / "inputs.npy", digits(5))
    done = subprocess.run(
        [sys.executable, "-c", script, str(file), str(tmp_path / "inputs.npy")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    wanted = predict("digits-here", digits(5), tracking_uri=searched.tracking_uri).rows
    np.testing.assert_allclose(json.loads(done.stdout), wanted["probabilities"].tolist(), atol=1e-6)


def test_an_export_without_a_model_is_refused_before_anything_is_computed(
    searched: Place, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="leave out --no-model, or --export"):
        made(searched, "digits-here", model=False, export=tmp_path / "x.pt2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reads", "message"),
    [
        ("data.train.targets.shape[0] * 0 + 8", r"reads data\.train\.targets, and its networks"),
        ("8 if hasattr(data.train, 'inputs') else 4", r"reads data\.train\.inputs"),
    ],
)
def test_a_recipe_that_reads_the_examples_is_told_what_it_may_read(
    new_place: Any, reads: str, message: str
) -> None:
    place = new_place("reads")
    launch(place, NUMBERS.replace("[8]", f"[{reads}]"))
    warnings: list[str] = []
    assert made(place, "numbers", warnings).published is None
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(warnings[-1])


@pytest.mark.slow
def test_numbers_are_told_in_the_units_of_their_targets(new_place: Any) -> None:
    place = new_place("numbers")
    launch(place, NUMBERS)
    result = made(place, "numbers")
    from sklearn.datasets import load_diabetes

    patients = load_diabetes(scaled=False)
    rows = predict("numbers", patients.data, tracking_uri=place.tracking_uri).rows
    mean = np.array(rows["mean"].tolist())[:, 0]
    assert abs(mean.mean() - patients.target.mean()) < 40
    assert np.corrcoef(mean, patients.target)[0, 1] > 0.2
    deviation = np.array(rows["std"].tolist())[:, 0]
    assert 20 < deviation.mean() < 150
    assert (np.array(rows["disagreement"].tolist())[:, 0] < deviation).all()
    data = load(datasets.diabetes, Split(validation=0.4, selection=0.5))
    scale = data.target_normalisation
    assert scale is not None
    with pytest.raises(UserError, match="bytes, and the study's data source gives numbers"):
        predict("numbers", np.zeros((1, 10), np.uint8), tracking_uri=place.tracking_uri)
    with pytest.raises(UserError, match="inputs of 1 examples are NaN or infinite"):
        predict("numbers", np.full((1, 10), np.nan), tracking_uri=place.tracking_uri)
    noise = result.ensemble.fitted.noise
    assert deviation.min() >= np.sqrt(noise) * float(scale.std)


@contextmanager
def served(model: str, tracking_uri: str) -> Iterator[str]:
    """``mlflow models serve``, without this repository's path."""
    programs = Path("programs")  # as in an environment that is activated
    programs.mkdir()
    (programs / "uvicorn").write_text(f'#!/bin/sh\nexec {sys.executable} -m uvicorn "$@"\n')
    (programs / "uvicorn").chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["PATH"] = f"{programs.absolute()}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "-m", model],
        env={**environment, "MLFLOW_TRACKING_URI": tracking_uri, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, "mlflow models serve ended"
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


def posted(url: str, body: Any) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


@pytest.mark.slow
def test_the_served_model_answers_over_http_what_predict_answers(
    searched: Place, packed: EnsembleResult
) -> None:
    inputs = digits(7)
    rows = predict("digits-here", inputs, tracking_uri=searched.tracking_uri, version=1).rows
    with served("models:/digits-here/1", searched.tracking_uri) as url:
        answered = posted(url, {"inputs": inputs.tolist()})["predictions"]
        assert answered == rows.to_dict("records")
        with pytest.raises(urllib.error.HTTPError, match="400"):
            posted(url, {"inputs": [[1, 2, 3]]})


@pytest.mark.slow
def test_behind_a_server_it_is_logged_registered_and_asked(
    new_place: Any, tmp_path: Path, fresh_mlflow: Path
) -> None:
    place = new_place("behind")
    server = Server(place.tracking_uri, str(tmp_path / "artifacts"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Place, "tracking_uri", server.url)
            patch.setattr(
                Place,
                "options",
                lambda self, _options=Place.options: {**_options(self), "artifacts": None},
            )
            (place.directory / "beside.py").write_text(BESIDE)
            launch(place, DIGITS)
            result = made(place, "digits-here")
            assert result.published is not None
            assert result.published.model.version == 1
            for version in (None, 1):
                asked = predict("digits-here", digits(3), tracking_uri=server.url, version=version)
                assert asked.digest == result.ensemble.digest
    finally:
        server.stop()
