"""What a launch refuses before anything is stored, and what it says it will cost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import optuna
import pytest
import torch
from torch import nn

from nnstudy import Recipe, Study
from nnstudy.data import Data, Subset
from nnstudy.errors import UserError
from tests.launching import Place, network, recipe, toy


def generator(trial: optuna.Trial, data: Data) -> Iterator[dict[str, float]]:
    trial.suggest_float("lr", 0, 1)
    yield {"loss/valid": 1.0}


def misfit(trial: optuna.Trial, data: Data) -> Recipe:
    lr = trial.suggest_float("lr", 0.01, 0.1)
    return Recipe(network=nn.Linear(4, 2), optimizer=partial(torch.optim.SGD, lr=lr))


@pytest.mark.parametrize(
    ("study", "options", "said"),
    [
        (toy(generator), {}, "is itself a generator.*Ask the trial for values first"),
        (toy(start={"lr": 5.0}), {}, r"lr = 5.0 lies outside 0.001..1 \(log\)"),
        (toy(start={"lrr": 0.1}), {}, "no parameter 'lrr'. Did you mean lr"),
        (toy(limits={"lr": (None, 0.5)}), {}, r"limits\['lr'\] = \(None, 0.5\) is narrower"),
        (toy(limits={"unit": (1, None)}), {}, "no parameter 'unit'. Did you mean units"),
        (toy(misfit), {"preflight": True}, r"outputs of shape \(18, 2\) .* do not fit the loss"),
        (
            toy(metric="f1/valid", direction="maximize"),
            {"preflight": True},
            "metric 'f1/valid' is not among",
        ),
        (toy(metric="f1/valid"), {}, "direction='maximize' or direction='minimize'"),
        (toy(), {"sampler": "tpee"}, "Unknown sampler 'tpee'. Did you mean tpe"),
        (toy(), {"pruner": "medium"}, "Unknown pruner 'medium'. Did you mean median"),
        (toy(), {"sampler": "grid"}, "A grid needs values for lr"),
        (toy(), {"pruner": "median", "pruner_options": {"warmup": 1}}, "no option 'warmup'"),
        (toy(), {"seed": -1}, "seed must not be negative, got -1"),
        (toy(), {"workers": 0}, "at least one worker"),
        (toy(), {"epochs": 0}, "epochs must be above 0"),
        (toy(), {"trials": 0}, "0 trials are too few"),
        (toy(), {"tracking_uri": "same"}, "each needs a database of its own"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, (str, dict)) else "",
)
def test_what_cannot_run_is_refused_before_anything_is_stored(
    place: Place, study: Study, options: dict[str, Any], said: str
) -> None:
    if options.get("tracking_uri"):
        options = {"tracking_uri": place.storage}
    with pytest.raises(UserError, match=f"(?s){said}"):
        place.launch(study, **options)
    assert not (place.directory / "optuna.db").exists()
    assert place.all_runs() == []


def test_a_study_that_cannot_be_sent_to_workers_says_so(place: Place) -> None:
    lock = threading.Lock()

    def holding(trial: optuna.Trial, data: Data) -> Recipe:
        lock.acquire(timeout=1)
        return recipe(trial, data)

    with pytest.raises(UserError, match="cannot be sent to 2 workers"):
        place.launch(toy(holding), workers=2)


def test_the_cost_is_told_before_the_first_trial(place: Place) -> None:
    place.launch(toy(trials=3, epochs=2), preflight=True)
    kinds = [event.kind for event in place.events]
    assert kinds.index("cost") < kinds.index("stage")
    cost = place.events[kinds.index("cost")]
    assert (cost.values["trials"], cost.values["epochs"], cost.values["workers"]) == (3, 6, 1)
    assert 0 < cost.values["epoch_seconds"] < 5
    assert cost.values["seconds"] == pytest.approx(6 * cost.values["epoch_seconds"])


def test_options_override_the_study(place: Place) -> None:
    place.launch(
        toy(trials=9, epochs=9),
        trials=1,
        epochs=1,
        validate_every=32,
        subset=Subset(classes=(0, 2), examples=64),
        sampler="random",
        seed=4,
    )
    curves = place.curves(0)
    assert curves["epoch"] == [(1, 0.5), (2, 1.0)]
    assert curves["examples_seen"][-1] == (2, 64.0)
    assert place.run(0).data.tags["nnstudy.seed"] == "4"


@pytest.mark.slow
def test_some_recipes_that_cannot_be_trained_are_warned_about(place: Place) -> None:
    def sometimes(trial: optuna.Trial, data: Data) -> Recipe:
        outputs = trial.suggest_categorical("outputs", [3, 2])
        return Recipe(
            network=nn.Sequential(network(data), nn.Linear(3, outputs)),
            optimizer=partial(torch.optim.SGD, lr=0.1),
        )

    start = [{"outputs": 3}, {"outputs": 2}]
    result = place.launch(toy(sometimes, trials=2, epochs=1, start=start), preflight=True)
    assert any("do not fit the loss" in text for text in place.texts("warning"))
    assert result.endings == {"complete": 1, "failed": 1}
