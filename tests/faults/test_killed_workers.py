"""Workers and launchers that are killed at random moments: nothing is lost, nothing double."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.faults.harness import TOY, Killer, Launch, Scene, report, wait_until
from tests.faults.undisturbed import assert_as_if_undisturbed
from tests.faults.wholeness import assert_whole, take_overs
from tests.launching import make_place

SEED = 20_240_229


@pytest.mark.slow
def test_forty_trials_survive_thirty_kills_of_their_workers(any_scene: Scene) -> None:
    killer = Killer(any_scene, SEED, validations=(4, 16))
    launch = any_scene.launch(
        trials=40, workers=4, epoch_seconds=0.12, settings={"lease_seconds": 4.0}
    )
    kills = killer.kill(30, launch)
    launch.wait(300)

    report(*killer.log)
    report(f"seed {SEED}: {kills} kills, {take_overs(any_scene)} trials taken over")
    assert kills == 30
    assert take_overs(any_scene) >= 15
    launch.assert_complete(40)
    assert_whole(any_scene, 40)
    assert_as_if_undisturbed(any_scene.place, TOY)


@pytest.mark.slow
def test_a_study_survives_kills_of_its_launcher_whose_workers_live_on(scene: Scene) -> None:
    draw = random.Random(SEED)
    trials = 14
    for _ in range(3):
        launch = _launch(scene, trials)
        scene.wait_for_validations(draw.randint(15, 40), launch)
        time.sleep(draw.uniform(0, 0.5))
        launch.process.kill()
        # The next one finds workers of this one still at work.
    launch = _launch(scene, trials).wait(120)

    launch.assert_complete(trials)
    assert_whole(scene, trials)
    assert_as_if_undisturbed(scene.place, TOY)
    wait_until(lambda: not scene.workers(), 30)


@pytest.mark.slow
def test_trials_of_several_folds_survive_kills_inside_of_them(
    scene: Scene, fresh_mlflow: Path, tmp_path: Path
) -> None:
    options = {"trials": 3, "folds": 3, "epochs": 3, "sampler": "random", "pruner": "none"}
    killer = Killer(scene, SEED, validations=(2, 5))
    launch = scene.launch(workers=2, epoch_seconds=0.12, settings={"lease_seconds": 4.0}, **options)
    kills = killer.kill(3, launch)
    launch.wait(200)

    assert kills == 3
    assert take_overs(scene) >= 2
    launch.assert_complete(3)
    assert_whole(scene, 3)
    undisturbed = make_place(tmp_path / "undisturbed", fresh_mlflow)
    undisturbed.launch(str(TOY), **options)
    for trial, expected in zip(scene.place.trials(), undisturbed.trials(), strict=True):
        assert (trial.params, trial.value) == (expected.params, expected.value)
        assert trial.intermediate_values == expected.intermediate_values
        assert scene.place.numbers(trial.number) == undisturbed.numbers(trial.number)


def _launch(scene: Scene, trials: int) -> Launch:
    return scene.launch(
        trials=trials, workers=3, epoch_seconds=0.12, settings={"lease_seconds": 4.0}
    )
