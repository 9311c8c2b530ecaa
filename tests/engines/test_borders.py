"""A search whose range ends before its best values do."""

from __future__ import annotations

import math
from collections.abc import Iterable

import optuna
from optuna.distributions import FloatDistribution

from nnstudy.data import Data
from nnstudy.report import study_status
from nnstudy.search.storage import open_storage
from tests.launching import Place, toy

RATE = FloatDistribution(1e-6, 1e-4, log=True)


def recipe(trial: optuna.Trial, data: Data) -> Iterable[dict[str, float]]:
    lr = trial.suggest_float("lr", 1e-6, 1e-4, log=True)
    return [{"loss/valid": (math.log10(lr) + 2) ** 2}]


def test_a_border_is_told_at_the_end_in_the_note_and_in_the_status_unless_it_is_a_limit(
    place: Place,
) -> None:
    study = toy(recipe, trials=12, epochs=1, sampler="qmc", metric="loss/valid")
    [border] = place.launch(study).borders["search"]
    assert (border.parameter, border.edge, border.trials) == ("lr", "high", 12)
    assert (border.asked, border.wider) == (RATE, FloatDistribution(1e-6, 1e-3, log=True))
    assert f"- {border}" in place.stage_run().data.tags["mlflow.note.content"]
    [status] = study_status(open_storage(place.storage), "toy")
    assert status.borders == [border.to_dict()]

    study.limits = {"lr": (None, 1e-4)}
    assert place.launch(study).borders == {"search": []}
    [status] = study_status(open_storage(place.storage), "toy")
    assert status.borders == []
