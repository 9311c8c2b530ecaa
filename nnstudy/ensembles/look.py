"""The one look at the test part that a study's ensembles take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.storages import RDBStorage

from nnstudy.ensembles.cross_fitting import SINGLE, one_of
from nnstudy.ensembles.ensemble import Ensemble
from nnstudy.ensembles.pool import answers_of
from nnstudy.ensembles.predictions import Predictor, predict
from nnstudy.search.stored import StoredStage
from nnstudy.search.test_looks import complete_look, record_look, test_looks

_ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class TakenLook:
    """What an ensemble is worth on the test part.

    Attributes:
        when: Time of the look, ISO 8601.
        digest: Of the ensemble.
        numbers: Measures by name, of ``best of the search`` and ``ensemble``.
    """

    when: str
    digest: str
    numbers: dict[str, dict[str, float]]


def taken_look(stages: Sequence[StoredStage]) -> TakenLook | None:
    """Returns the first look that an ensemble of the study has taken and completed, or None."""
    looks = [
        TakenLook(look["when"], look[_ENSEMBLE], look["scores"])
        for stage in stages
        for look in test_looks(stage.optuna_study)
        if _ENSEMBLE in look and "scores" in look
    ]
    return min(looks, key=lambda look: look.when, default=None)


def look_once(
    storage: RDBStorage,
    stages: Sequence[StoredStage],
    ensemble: Ensemble,
    predictor: Predictor,
) -> TakenLook:
    """Measures an ensemble on the test part, unless one of the study was measured before.

    The look is recorded first, with the stage of the best of the search, and only when nothing
    else is left that could fail. One that was broken off, so that nobody has seen its scores, is
    completed.

    Args:
        storage: Optuna's storage.
        stages: Of the study.
        ensemble: What to measure, beside the best of the search.
        predictor: Rebuilds the networks.

    Returns:
        The first look, also where it was another ensemble's.

    Raises:
        UserError: If the networks cannot be had any more.
    """
    if (taken := taken_look(stages)) is not None:
        return taken
    data, best = predictor.data, ensemble.pool.candidates[0]
    indices = [0, *(int(index) for index in ensemble.indices)]
    networks = [predictor.rebuild(ensemble.pool.candidates[index]).network for index in indices]
    study = next(stage for stage in stages if stage.plan.name == best.plan.name).optuna_study
    look: dict[str, object] = {"trial": best.trial.number, _ENSEMBLE: ensemble.digest}
    place = _recorded(study, look)

    def record() -> None:
        if place is None:
            record_look(storage, study, look)

    examples = data.open_test(record)
    device = predictor.settings.device
    # The scores of each network, the best of the search first.
    scores = [predict(network, examples, data, device).double().numpy() for network in networks]
    links = [ensemble.pool.outputs[index].link for index in indices]
    answers = answers_of(scores, links, examples, data)
    single = SINGLE.fit(
        ensemble.pool.answers, one_of(len(ensemble.pool.candidates), 0), calibrate=False
    )
    predictions = {
        "best of the search": single.of(np.array([0])).predict(answers.of(np.array([0]))),
        "ensemble": ensemble.fitted.of(ensemble.indices).predict(
            answers.of(np.arange(1, len(networks)))
        ),
    }
    found = {name: one.measure(answers).numbers for name, one in predictions.items()}
    complete_look(
        storage, study, len(test_looks(study)) - 1 if place is None else place, scores=found
    )
    taken = taken_look(stages)
    assert taken is not None, "it was completed a moment ago"
    return taken


def _recorded(study: optuna.Study, look: dict[str, object]) -> int | None:
    looks = test_looks(study)
    found = [place for place, one in enumerate(looks) if one.items() >= look.items()]
    return found[0] if found else None
