from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from nnstudy.errors import UserError
from nnstudy.tracking import Tracker, TrialRun
from tests.tracking.served import Server

mpl.use("agg")
NOW = 1_700_000_000_000


@pytest.fixture
def trial(tracker: Tracker, experiment: str) -> TrialRun:
    return tracker.trial_run(experiment, "parent", number=0, name="trial 0", key="digits/coarse/0")


def curve(tracker: Tracker, run_id: str, key: str) -> list[tuple[int, float, int]]:
    history = tracker.client.get_metric_history(run_id, key)
    return sorted((point.step, point.value, point.timestamp) for point in history)


def test_log_writes_nothing_before_flush(tracker: Tracker, trial: TrialRun) -> None:
    trial.log({"loss/train": 1.0}, step=0, timestamp=NOW)
    assert curve(tracker, trial.run_id, "loss/train") == []
    assert trial.flush()
    assert curve(tracker, trial.run_id, "loss/train") == [(0, 1.0, NOW)]
    assert trial._buffer.points == []


def test_flush_is_one_request(
    trial: TrialRun, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = []
    send = tracker.client.log_batch
    monkeypatch.setattr(
        tracker.client, "log_batch", lambda *a, **k: (requests.append(k), send(*a, **k))
    )
    for step in range(30):
        trial.log({f"curve/{n}": n * step for n in range(20)}, step=step, timestamp=NOW + step)
    trial.set_tags({"state": "RUNNING"})
    trial.set_note("# Note")
    assert trial.flush()
    assert len(requests) == 1
    assert len(curve(tracker, trial.run_id, "curve/19")) == 30


def test_more_than_a_thousand_values_arrive(tracker: Tracker, trial: TrialRun) -> None:
    for step in range(2500):
        trial.log({"loss": step}, step=step, timestamp=NOW + step)
    assert trial.flush()
    assert [step for step, _, _ in curve(tracker, trial.run_id, "loss")] == list(range(2500))


def test_delivering_again_leaves_each_value_once(tracker: Tracker, trial: TrialRun) -> None:
    for _ in range(3):
        trial.log({"loss": 0.5, "lr": math.nan}, step=1, timestamp=NOW)
        assert trial.flush()
    assert curve(tracker, trial.run_id, "loss") == [(1, 0.5, NOW)]
    assert len(curve(tracker, trial.run_id, "lr")) == 1


@pytest.mark.parametrize("status", ["FINISHED", "KILLED", "FAILED"])
def test_finish_ends_once(tracker: Tracker, trial: TrialRun, status: str) -> None:
    assert trial.finish(status, {"state": "x"}, {"accuracy/valid": 0.9})  # type: ignore[arg-type]
    before = tracker.client.get_run(trial.run_id)
    assert trial.finish("FAILED", {"state": "y"}, {"accuracy/valid": 0.1})
    after = tracker.client.get_run(trial.run_id)
    assert after.info.status == status
    assert after.info.end_time == before.info.end_time
    assert after.data.tags["state"] == "x"
    assert [value for _, value, _ in curve(tracker, trial.run_id, "best/accuracy/valid")] == [0.9]


def test_best_values_stay_single_where_another_process_ends_the_run_again(
    tracker: Tracker, trial: TrialRun
) -> None:
    assert trial.finish("FINISHED", best={"accuracy/valid": 0.9}, best_at=NOW)
    again = tracker.run(trial.run_id)
    assert again.finish("FINISHED", best={"accuracy/valid": 0.9}, best_at=NOW)
    assert curve(tracker, trial.run_id, "best/accuracy/valid") == [(0, 0.9, NOW)]


def test_names_that_mlflow_refuses_are_adapted(tracker: Tracker, trial: TrialRun) -> None:
    trial.log({"update_ratio/layers[0].weight": 1e-3, "/x//y": 1.0}, step=0, timestamp=NOW)
    assert trial.flush()
    metrics = tracker.client.get_run(trial.run_id).data.metrics
    assert set(metrics) == {"update_ratio/layers_0_.weight", "x/y"}


def test_files_become_artifacts(
    tracker: Tracker, trial: TrialRun, store: tuple[str, str], tmp_path: Path
) -> None:
    from matplotlib.figure import Figure

    (tmp_path / "study.py").write_text("study = 1")
    figure = Figure()
    figure.subplots().plot([1, 2])
    assert trial.log_figure(figure, "pictures/curve.png")
    assert trial.log_text("# Story", "story.md")
    assert trial.log_dict({"lr": 0.1}, "params.json")
    assert trial.log_artifact(tmp_path / "study.py", "code")
    listed = {item.path for item in tracker.client.list_artifacts(trial.run_id)}
    assert listed == {"pictures", "story.md", "params.json", "code"}


def test_a_file_that_cannot_be_written_is_a_warning(
    trial: TrialRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not trial.log_artifact(tmp_path / "missing.txt")
    assert "missing.txt" in caplog.text


@pytest.fixture
def server(store: tuple[str, str]) -> Iterator[Server]:
    running = Server(*store)
    yield running
    running.stop()


@pytest.mark.slow
def test_values_wait_while_the_server_is_away(
    server: Server, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = Tracker(server.url)
    experiment = tracker.experiment("digits", metric="accuracy/valid")
    trial = tracker.trial_run(experiment, "p", number=0, name="trial 0", key="digits/coarse/0")
    assert trial.log_text("kept by the server", "note.md")
    trial.log({"loss": 1.0}, step=0, timestamp=NOW)
    assert trial.flush()

    server.stop()
    started = time.monotonic()
    for step in range(1, 200):
        trial.log({"loss": 1.0 / step}, step=step, timestamp=NOW + step)
        assert not trial.flush()
    assert not trial.finish("FINISHED", {"state": "COMPLETE"}, {"accuracy/valid": 0.9})
    assert time.monotonic() - started < 10
    assert len(trial._buffer.points) == 200
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "cannot be written to" in warnings[0].message
    assert capfd.readouterr().err == ""

    server.start()
    assert trial.flush(now=True)
    assert [step for step, _, _ in curve(tracker, trial.run_id, "loss")] == list(range(200))
    run = tracker.client.get_run(trial.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["best/accuracy/valid"] == 0.9
    assert run.data.tags["state"] == "COMPLETE"


def test_unreachable_server_is_said_soon_and_without_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    started = time.monotonic()
    with pytest.raises(UserError, match="Is it running") as caught:
        Tracker("http://ann:s3cret-word@127.0.0.1:9")
    assert time.monotonic() - started < 5
    assert "s3cret-word" not in str(caught.value)


def test_images_are_a_series_in_the_grid(tracker: Tracker, trial: TrialRun) -> None:
    picture = np.zeros((20, 30, 3), dtype=np.uint8)
    picture[5, 7] = 200, 100, 50
    for step in (1, 4):
        assert trial.log_image("first layer", picture, step=step)
    files = [entry.path for entry in tracker.client.list_artifacts(trial.run_id, "images")]
    full = sorted(path for path in files if path.endswith(".png"))
    assert [path.split("+")[:3] for path in full] == [
        ["images/first layer", "step", step] for step in ("1", "4")
    ]
    with Image.open(tracker.client.download_artifacts(trial.run_id, full[0])) as kept:
        assert np.array_equal(np.asarray(kept), picture)
    assert tracker.client.get_run(trial.run_id).data.tags["mlflow.loggedImages"] == "True"


def test_images_are_not_tried_again_at_once_where_the_store_is_away(
    trial: TrialRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def away(*args: object, **options: object) -> None:
        tries.append(options)
        raise OSError("no route to host")

    monkeypatch.setattr(trial._client, "log_image", away)
    picture = np.zeros((2, 2, 3), dtype=np.uint8)
    assert not trial.log_image("first layer", picture, step=1)
    assert not trial.log_image("distributions", picture, step=1)
    assert len(tries) == 1
    assert "first layer" in caplog.text
