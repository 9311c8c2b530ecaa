"""A database server that is restarted again and again, at whatever a worker is about to do."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.faults.harness import NOOP, Scene, report, scene_at, wait_until
from tests.faults.wholeness import assert_each_trial_once
from tests.launching import Place
from tests.postgres import PostgresServer

SEED = 20_240_229
TRIALS = 400


@pytest.mark.postgres
@pytest.mark.slow
def test_short_trials_survive_a_postgres_that_stops_and_crashes(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """Optuna's database and MLflow's are both on it."""
    place = Place(tmp_path, postgres_server.new_database())
    tracking_uri = postgres_server.new_database()
    with scene_at(place) as scene:
        launch = scene.launch(NOOP, trials=TRIALS, workers=2, tracking_uri=tracking_uri)
        wait_until(lambda: "end" in [event["event"] for event in list(launch.events)], 90)
        restarts = _restart_at_random(scene, postgres_server)
        launch.wait(240)

    report(f"seed {SEED}: {restarts} restarts")
    assert restarts >= 5
    launch.assert_complete(TRIALS)
    assert_each_trial_once(place.storage, tracking_uri, TRIALS)


def _restart_at_random(scene: Scene, server: PostgresServer) -> int:
    """Stops or crashes the server, and starts it again, eight times or until the study ends."""
    draw = random.Random(SEED)
    for restart in range(8):
        time.sleep(draw.uniform(0.3, 1.5))
        if scene.launches[0].is_over:
            return restart
        draw.choice([server.stop, server.crash])()
        time.sleep(draw.uniform(0.0, 2.0))
        server.start()
    return 8
