"""What a later launch of a stored study may change, and what it says where it may not."""

from __future__ import annotations

import pytest
import torch

from nnstudy.engines.subject import default_workers
from nnstudy.errors import UserError
from nnstudy.search.plan import Plan
from tests.launching import Place, toy


def test_options_alone_are_added_to_the_stored_sampler_and_pruner(place: Place) -> None:
    study = toy(trials=1, epochs=1, sampler_options={"n_ei_candidates": 8}, pruner="median")
    place.launch(study)

    place.launch(
        study,
        trials=2,
        sampler_options={"n_startup_trials": 3},
        pruner_options={"n_startup_trials": 7},
    )

    plan = Plan.of(place.study())
    assert plan.sampler == {"name": "tpe", "options": {"n_ei_candidates": 8, "n_startup_trials": 3}}
    assert plan.pruner == {"name": "median", "options": {"n_startup_trials": 7}}


def test_deterministic_algorithms_asked_for_too_late_are_not_silently_left_out(
    place: Place,
) -> None:
    place.launch(toy(trials=1, epochs=1))
    with pytest.raises(UserError, match="deterministic: was False, is now True"):
        place.launch(toy(trials=2, epochs=1), deterministic=True)


def test_deterministic_algorithms_are_remembered(place: Place) -> None:
    place.launch(toy(trials=1, epochs=1), deterministic=True)
    assert place.launch(toy(trials=2, epochs=1)).complete
    assert Plan.of(place.study()).deterministic


@pytest.mark.parametrize(("device", "workers"), [("auto", 4), ("cuda", 4), ("cuda:1", 1)])
def test_there_is_one_worker_for_each_gpu_that_may_be_used(
    device: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert default_workers(device) == workers
