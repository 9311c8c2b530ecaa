"""Many launches at once on databases that do not exist yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.harness import NOOP, Scene, scene_at
from tests.faults.wholeness import assert_each_trial_once
from tests.launching import Place
from tests.postgres import PostgresServer

LAUNCHES = 16
TRIALS = 500


@pytest.mark.slow
def test_sixteen_launches_at_once_on_an_empty_sqlite_all_succeed(tmp_path: Path) -> None:
    place = Place(tmp_path, f"sqlite:///{tmp_path}/optuna.db")
    with scene_at(place) as scene:
        _launch_at_once(scene, place.tracking_uri)


@pytest.mark.postgres
@pytest.mark.slow
def test_sixteen_launches_at_once_on_an_empty_postgres_all_succeed(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    place = Place(tmp_path, postgres_server.new_database())
    with scene_at(place) as scene:
        _launch_at_once(scene, postgres_server.new_database())


def _launch_at_once(scene: Scene, tracking_uri: str) -> None:
    launch = scene.launch(NOOP, workers=1, tracking_uri=tracking_uri, copies=LAUNCHES).wait(400)

    launch.assert_complete(TRIALS)
    results = [event for event in launch.events if event["event"] == "result"]
    assert len(results) == LAUNCHES
    assert all(event["complete"] for event in results)
    # Each trial was told of by one process, and all had some.
    ends = [event for event in launch.events if event["event"] == "end"]
    assert sorted(event["trial"] for event in ends) == list(range(TRIALS))
    assert len({event["process"] for event in ends}) == LAUNCHES
    assert_each_trial_once(scene.place.storage, tracking_uri, TRIALS)
