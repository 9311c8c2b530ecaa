"""Databases, servers and disks that go away for a while: training goes on, nothing is lost."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness import TOY, Launch, Scene, trained_more_than_once, wait_until
from tests.faults.undisturbed import assert_as_if_undisturbed
from tests.faults.wholeness import assert_whole, time_stamps
from tests.postgres import PostgresServer
from tests.tracking.served import Server

# Trials that train all through an outage, and trials that come to their end while it lasts.
LONG = {"trials": 2, "epochs": 50, "epoch_seconds": 0.5}
SHORT = {"trials": 6, "epochs": 20, "epoch_seconds": 0.25}


@pytest.fixture
def postgres_scene(postgres_url: str, scene: Scene) -> Scene:
    scene.place.storage = postgres_url
    return scene


@pytest.mark.slow
@pytest.mark.postgres
def test_training_goes_on_while_postgres_is_stopped(
    postgres_scene: Scene, postgres_server: PostgresServer
) -> None:
    launch = _launch(postgres_scene, LONG)
    _take_away(postgres_scene, postgres_server.stop, postgres_server.start, seconds=20)
    launch.wait(120)

    _assert_trained_meanwhile(postgres_scene)
    assert _was_told(launch, "the database is away")
    _assert_nothing_lost(postgres_scene, launch, LONG)


@pytest.mark.slow
@pytest.mark.postgres
def test_trials_that_end_while_postgres_has_crashed_wait_with_their_last_word(
    postgres_scene: Scene, postgres_server: PostgresServer
) -> None:
    launch = _launch(postgres_scene, SHORT)
    _take_away(postgres_scene, postgres_server.crash, postgres_server.start, seconds=20)
    launch.wait(120)

    assert _was_told(launch, "the database is away")
    _assert_nothing_lost(postgres_scene, launch, SHORT)


@pytest.mark.slow
def test_what_an_mlflow_server_missed_is_delivered_when_it_is_back(scene: Scene) -> None:
    server = Server(scene.place.tracking_uri, str(scene.place.directory / "artifacts"))
    try:
        launch = _launch(scene, SHORT, tracking_uri=server.url, artifacts=None)
        _take_away(scene, server.stop, server.start, seconds=20)
        launch.wait(120)
    finally:
        server.stop()

    # Of each worker the first trial ends without MLflow, and the second begins without it.
    _assert_trained_meanwhile(scene)
    assert _was_told(launch, f"MLflow at {server.url} cannot be written to")
    _assert_nothing_lost(scene, launch, SHORT)


@pytest.mark.slow
def test_a_locked_sqlite_database_holds_no_training_up(scene: Scene) -> None:
    file = scene.place.directory / "optuna.db"
    with closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as other:
        launch = _launch(scene, LONG)
        _take_away(scene, lambda: other.execute("begin exclusive"), other.rollback, seconds=20)
        launch.wait(120)

    _assert_trained_meanwhile(scene)
    assert _was_told(launch, "the database is away")
    _assert_nothing_lost(scene, launch, LONG)


@pytest.mark.slow
@pytest.mark.parametrize("upload", [False, True], ids=["directory", "artifacts"])
def test_checkpoints_are_written_when_their_place_is_there_again(
    scene: Scene, upload: bool
) -> None:
    place = scene.place.directory / ("artifacts" if upload else "checkpoints")
    aside = place.with_name("aside")

    def take_away() -> None:
        place.rename(aside)
        place.touch()  # root may write anywhere, but not below a file

    def bring_back() -> None:
        place.unlink()
        aside.rename(place)

    launch = _launch(scene, SHORT, settings={"upload": upload})
    _take_away(scene, take_away, bring_back)
    launch.wait(120)

    assert _was_told(launch, "not take the checkpoint" if upload else "cannot write the checkpoint")
    _assert_nothing_lost(scene, launch, SHORT)


@pytest.mark.slow
def test_checkpoints_are_written_when_a_full_disk_has_room_again(scene: Scene) -> None:
    with _small_disk(scene.place.checkpoints) as disk:
        filler = disk / "filler"
        launch = _launch(scene, SHORT)
        _take_away(scene, lambda: _fill(filler), filler.unlink)
        launch.wait(120)

        assert _was_told(launch, "No space left on device")
        _assert_nothing_lost(scene, launch, SHORT)


def _launch(
    scene: Scene,
    trials: dict[str, Any],
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> Launch:
    """Two workers that are both in the midst of a trial."""
    launch = scene.launch(
        **trials, **options, workers=2, settings={"lease_seconds": 5.0, **(settings or {})}
    )
    wait_until(lambda: len({entry.trial for entry in scene.entries()}) == 2, 90)
    scene.wait_for_validations(6, launch)
    return launch


def _take_away(
    scene: Scene, begin: Callable[[], object], end: Callable[[], object], seconds: float = 10
) -> None:
    """Lets something be away for a while."""
    began = time.time()
    begin()
    try:
        time.sleep(seconds)
    finally:
        end()
    scene.outage = began, time.time()


def _assert_trained_meanwhile(scene: Scene) -> None:
    """There were more than half of the validations that a quiet time would have seen."""
    began, ended = scene.outage
    inside = [entry for entry in scene.entries() if began <= entry.time <= ended]
    assert len(inside) >= 0.6 * 2 * (ended - began) / LONG["epoch_seconds"]


def _assert_nothing_lost(scene: Scene, launch: Launch, trials: dict[str, Any]) -> None:
    launch.assert_complete(trials["trials"])
    assert not trained_more_than_once(scene.entries())
    assert_whole(scene, trials["trials"])
    assert_as_if_undisturbed(scene.place, TOY)
    for number in range(trials["trials"]):
        written = [entry.time for entry in scene.entries(trial=number)]
        stamps = time_stamps(scene.place, number)
        assert len(stamps) == len(written)
        for stamp, when in zip(stamps, written, strict=True):
            assert abs(stamp - when) < 1.0, "not the time when it was made"


def _was_told(launch: Launch, pattern: str) -> bool:
    return any(re.search(pattern, text) for text in launch.texts("warning", "message"))


@contextmanager
def _small_disk(directory: Path) -> Iterator[Path]:
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def _fill(file: Path) -> None:
    file.touch()
    with suppress(OSError):
        while True:
            with file.open("ab") as filler:
                filler.write(bytes(4096))
