"""What a stage may cost, as it is stored at this moment."""

from __future__ import annotations

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from nnstudy.search.budget import Budget, epochs_trained
from nnstudy.search.confirmation.outcome import seed_noise
from nnstudy.search.plan import Plan
from nnstudy.search.stored import stored_stages


def stage_budget(storage: RDBStorage, study: optuna.Study) -> Budget:
    """Returns what a stage may cost, as it is stored at this moment."""
    plan = Plan.of(study)
    flat, noise = plan.flat_trials, 0.0
    if flat is not None:
        noise = seed_noise(storage, plan.study) or 0.0
    if plan.max_epochs_total is None:
        return Budget(plan.trials, flat_trials=flat, noise=noise)
    spent = 0.0
    for other in stored_stages(storage, plan.study):
        if other.plan.stage != plan.stage and other.plan.kind == plan.kind:
            trials = other.optuna_study.get_trials(deepcopy=False)
            begun = sum(trial.state is TrialState.RUNNING for trial in trials)
            spent += epochs_trained(trials) + begun * other.plan.epochs_reserved
    left = plan.max_epochs_total - spent
    return Budget(plan.trials, left, plan.epochs_reserved, flat_trials=flat, noise=noise)
