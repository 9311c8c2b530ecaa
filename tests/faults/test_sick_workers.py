"""Workers that stop, hang, are sent away, or are killed by what they train."""

from __future__ import annotations

import os
import signal
import time

import pytest
from optuna.trial import TrialState

from tests.faults.harness import TOY, Entry, Scene, report, trained_more_than_once, wait_until
from tests.faults.undisturbed import assert_as_if_undisturbed
from tests.faults.wholeness import assert_whole, take_overs

LEASE = {"lease_seconds": 3.0}


@pytest.mark.slow
def test_a_worker_that_was_stopped_past_its_lease_goes_on_with_other_trials(
    any_scene: Scene,
) -> None:
    launch = any_scene.launch(trials=4, workers=2, epoch_seconds=0.3, settings=LEASE, pruner="none")
    wait_until(lambda: len(any_scene.entries()) > 6, 90)
    stopped = _stop_until_taken_over(any_scene)
    began = time.time()
    os.kill(stopped.process, signal.SIGCONT)
    launch.wait(120)

    launch.assert_complete(4)
    assert_whole(any_scene, 4)
    assert_as_if_undisturbed(any_scene.place, TOY)
    assert any(f"trial {stopped.trial}" in text for text in launch.texts("message", "warning"))
    # It ended that trial at once, and lived on to train others.
    after = [e for e in any_scene.entries() if e.process == stopped.process and e.time > began]
    assert len([e for e in after if e.trial == stopped.trial]) <= 4
    assert [e for e in after if e.trial != stopped.trial]


@pytest.mark.slow
def test_a_worker_that_hangs_loses_its_trial_to_another(scene: Scene) -> None:
    launch = scene.launch(
        trials=4, workers=2, epoch_seconds=0.2, settings=LEASE, deed="hang once", pruner="none"
    ).wait(120)

    launch.assert_complete(4)
    assert (scene.place.directory / "hang").exists()
    assert len({entry.process for entry in scene.entries(trial=1)}) == 2
    assert_whole(scene, 4)
    assert_as_if_undisturbed(scene.place, TOY)


@pytest.mark.alone
def test_sigterm_hands_the_trial_back_within_a_second_exact_to_the_minibatch(
    any_scene: Scene,
) -> None:
    """The next worker goes on at the very minibatch, inside an epoch of seconds."""
    launch = any_scene.launch(
        trials=2, epochs=8, workers=2, step_seconds=0.2, pruner="none",
        settings={"lease_seconds": 60.0},
    )  # fmt: skip
    wait_until(lambda: len(any_scene.entries("step")) > 15, 90)
    victim = any_scene.entries("step")[-1]
    before = any_scene.leases()[victim.trial]
    os.kill(victim.process, signal.SIGTERM)
    sent = time.monotonic()
    wait_until(lambda: _is_free(any_scene, victim.trial, before.token), 10)
    took = time.monotonic() - sent
    launch.wait(180)

    report(f"handed back after {took:.2f} s")
    assert took < 1.0
    launch.assert_complete(2)
    assert take_overs(any_scene) == 1
    assert not trained_more_than_once(any_scene.entries("step"))
    positions = [entry.number for entry in any_scene.entries("step", victim.trial)]
    assert positions == list(range(1, positions[-1] + 1))
    assert_whole(any_scene, 2)
    assert_as_if_undisturbed(any_scene.place, TOY)


@pytest.mark.alone
def test_sigterm_hands_the_trial_back_within_a_second_also_in_a_long_minibatch(
    scene: Scene,
) -> None:
    """Python hears of a signal only after the operation that runs."""
    launch = scene.launch(
        trials=2, workers=2, deed="compute for long once", pruner="none",
        settings={"lease_seconds": 600.0},
    )  # fmt: skip
    wait_until((scene.place.directory / "hang").exists, 90)
    before = scene.leases()[1]
    hanging = int(before.owner.rpartition(":")[2])
    os.kill(hanging, signal.SIGTERM)
    sent = time.monotonic()
    wait_until(lambda: _is_free(scene, 1, before.token), 10)
    took = time.monotonic() - sent
    launch.wait(120)

    report(f"handed back after {took:.2f} s")
    assert took < 1.0
    launch.assert_complete(2)
    assert_whole(scene, 2)
    assert_as_if_undisturbed(scene.place, TOY)


@pytest.mark.slow
def test_a_trial_that_kills_its_worker_three_times_in_its_first_epoch_is_failed(
    scene: Scene,
) -> None:
    launch = scene.launch(
        trials=4, workers=2, settings=LEASE, deed="die in the first epoch", pruner="none"
    ).wait(180)

    launch.assert_complete(4)
    states = [trial.state for trial in scene.place.trials()]
    assert states.count(TrialState.COMPLETE) == 3
    assert states[1] is TrialState.FAIL
    facts = scene.place.trials()[1].user_attrs["nnstudy"]
    assert "died 3 times in a row" in facts["reason"]
    assert scene.place.run(1).data.tags["nnstudy.reason"] == facts["reason"]
    assert len([text for text in launch.texts("warning") if "SIGKILL" in text]) == 3
    assert_whole(scene, 4)
    assert_as_if_undisturbed(scene.place, TOY)


@pytest.mark.slow
def test_a_trial_that_kills_its_worker_after_each_epoch_is_finished(scene: Scene) -> None:
    launch = scene.launch(
        trials=2, epochs=6, workers=2, settings=LEASE, deed="die after each epoch",
        epoch_seconds=1.2, pruner="none",
    ).wait(180)  # fmt: skip

    launch.assert_complete(2)
    assert launch.events[-1]["endings"] == {"complete": 2}
    assert take_overs(scene) == 5
    assert_whole(scene, 2)
    assert_as_if_undisturbed(scene.place, TOY)


def _stop_until_taken_over(scene: Scene) -> Entry:
    """Stops a worker for as long as it takes another one to have its trial.

    A worker that is stopped in the middle of writing to a database holds up all others; such a
    one is let go, and stopped again a moment later.
    """
    for _ in range(5):
        stopped = scene.entries()[-1]
        token = scene.leases()[stopped.trial].token
        os.kill(stopped.process, signal.SIGSTOP)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            time.sleep(0.2)
            owner = scene.leases()[stopped.trial]
            if owner.token > token and not owner.owner.endswith(f":{stopped.process}"):
                later = [e for e in scene.entries(trial=stopped.trial) if e.time > stopped.time]
                if {e.process for e in later} - {stopped.process}:
                    return stopped
        os.kill(stopped.process, signal.SIGCONT)
        scene.wait_for_validations(1, scene.launches[0])
    raise AssertionError("the trial of a stopped worker was not taken over")


def _is_free(scene: Scene, trial: int, token: int) -> bool:
    info = scene.leases()[trial]
    return info.expires_in_seconds <= 0 or info.token > token
