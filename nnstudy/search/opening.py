"""Everything a worker needs for a stage, from what is stored and the study file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from nnstudy.data import Data, Folds, Split, Subset, load
from nnstudy.data.shared import open_shared
from nnstudy.errors import UserError
from nnstudy.search.distillation import answers
from nnstudy.search.distillation.students import taught
from nnstudy.search.events import Emit
from nnstudy.search.interruption import Interruption
from nnstudy.search.patience import Patience
from nnstudy.search.plan import Plan
from nnstudy.search.settings import Settings
from nnstudy.search.stage_work import StageWork
from nnstudy.search.stored import search_parts, validations
from nnstudy.study import Stage, Study
from nnstudy.tracking import Tracker


def open_work(
    study: Study,
    plan: Plan,
    data: Data,
    *,
    storage: RDBStorage,
    tracker: Tracker,
    settings: Settings,
    emit: Emit,
    interruption: Interruption,
    patience: Patience,
) -> StageWork:
    """Puts together what a worker needs for a stored stage.

    Raises:
        UserError: If an ensemble teaches the stage, and what it teaches cannot be had here.
    """
    folds = Folds(data, plan.folds, share=plan.data_share) if plan.folds > 1 else None
    data = data.with_share(plan.data_share)
    if plan.kind == "distill":
        study = taught(study, answers.fetch(tracker, plan))
    stage = next(
        (stage for stage in study.stages if stage.name == plan.declared), Stage(plan.stage)
    )
    sampler, pruner = search_parts(plan, stage, validations(plan, len(data.train)))
    return StageWork(
        study=study,
        plan=plan,
        storage=storage,
        optuna_study=optuna.load_study(
            study_name=plan.name, storage=storage, sampler=sampler, pruner=pruner
        ),
        data=data,
        folds=folds,
        tracker=tracker,
        settings=settings,
        emit=emit,
        interruption=interruption,
        patience=patience,
    )


def load_planned_data(
    study: Study, plan: Plan, *, directory: Path | None = None, download: bool = False
) -> Data:
    """Loads the data of a stored stage as it was split when it was launched.

    Where a process of this machine has shared them, they are mapped instead.

    Raises:
        UserError: If the data are missing, or not those the stage was launched with.
    """
    shared = open_shared(plan.data["digest"])
    if shared is not None:
        return replace(shared, name=plan.data["name"])
    subset = {**plan.subset}
    if subset.get("classes"):
        subset["classes"] = tuple(subset["classes"])
    data = load(
        study.data, Split(**plan.split), Subset(**subset), directory=directory, download=download
    )
    if data.digest != plan.data["digest"]:
        raise UserError(
            f"the data of study {plan.study!r} here are not those it was launched with"
            f" (digest {data.digest}, not {plan.data['digest']}); point --data-dir at the same"
        )
    return data
