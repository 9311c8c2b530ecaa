"""What a worker needs to run the trials of a stage."""

from __future__ import annotations

from dataclasses import dataclass

import optuna
from optuna.storages import RDBStorage

from nnstudy.data import Data, Folds
from nnstudy.search.events import Emit
from nnstudy.search.interruption import Interruption
from nnstudy.search.patience import Patience
from nnstudy.search.plan import Plan
from nnstudy.search.settings import Settings
from nnstudy.study import Study
from nnstudy.tracking import Tracker


@dataclass(frozen=True)
class StageWork:
    """What a worker needs to run the trials of a stage.

    Attributes:
        study: The study, from its file.
        plan: The stage as it is stored.
        storage: Optuna's storage.
        optuna_study: The stage's Optuna study, with its sampler and pruner.
        data: The data of the study.
        folds: The same, divided into folds where trials are cross-validated, else None.
        tracker: MLflow.
        settings: Device, places and rules of this process.
        emit: Hears what happens.
        interruption: Asks for an early end.
        patience: What to do where something is away.
    """

    study: Study
    plan: Plan
    storage: RDBStorage
    optuna_study: optuna.Study
    data: Data
    folds: Folds | None
    tracker: Tracker
    settings: Settings
    emit: Emit
    interruption: Interruption
    patience: Patience
