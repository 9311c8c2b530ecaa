"""What a worker needs to run the trials of a stage."""

from __future__ import annotations

from dataclasses import dataclass

import optuna
from optuna.storages import RDBStorage

from nnstudy.data import Data
from nnstudy.search.events import Emit
from nnstudy.search.interruption import Interruption
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
        tracker: MLflow.
        settings: Device, places and rules of this process.
        emit: Hears what happens.
        interruption: Asks for an early end.
    """

    study: Study
    plan: Plan
    storage: RDBStorage
    optuna_study: optuna.Study
    data: Data
    tracker: Tracker
    settings: Settings
    emit: Emit
    interruption: Interruption
