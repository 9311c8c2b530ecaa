"""What a stage may cost, as it is stored at this moment."""

from __future__ import annotations

from collections.abc import Iterable

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from nnstudy.search.budget import Budget, epochs_trained
from nnstudy.search.confirmation.outcome import seed_noise
from nnstudy.search.plan import Plan
from nnstudy.search.stored import StoredStage, stored_stages


def stage_budget(storage: RDBStorage, study: optuna.Study) -> Budget:
    """Returns what a stage may cost, as it is stored at this moment."""
    plan = Plan.of(study)
    flat, noise = plan.flat_trials, 0.0
    if flat is not None:
        noise = seed_noise(storage, plan.study) or 0.0
    if plan.max_epochs_total is None:
        return Budget(plan.trials, flat_trials=flat, noise=noise)
    others = (
        other
        for other in stored_stages(storage, plan.study)
        if other.plan.stage != plan.stage and other.plan.kind == plan.kind
    )
    left = plan.max_epochs_total - epochs_committed(others)
    return Budget(plan.trials, left, plan.epochs_reserved, flat_trials=flat, noise=noise)


def epochs_committed(stages: Iterable[StoredStage]) -> float:
    """Returns the epochs that stages have trained, and all those of the trials that are running."""
    committed = 0.0
    for stage in stages:
        trials = stage.optuna_study.get_trials(deepcopy=False)
        running = sum(trial.state is TrialState.RUNNING for trial in trials)
        committed += epochs_trained(trials) + running * stage.plan.epochs_reserved
    return committed
