"""The run of a stage beside the stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from nnstudy.doctor.finding import Finding
from nnstudy.doctor.snapshot import Sides, StageSnapshot
from nnstudy.errors import UserError
from nnstudy.search.budget import count
from nnstudy.search.plan import Plan
from nnstudy.search.stage_budget import stage_budget
from nnstudy.search.tracked import close_stage_run, open_stage_run

if TYPE_CHECKING:
    from mlflow.entities import Run


def compare_stage_run(snapshot: StageSnapshot, sides: Sides) -> Iterator[Finding]:
    """Yields what is wrong with the run of a stage that nobody works on."""
    if snapshot.runs is None or snapshot.is_worked_on:
        return
    plan, run = snapshot.plan, snapshot.stage_run
    done = _is_done(snapshot, sides)
    if run is None or run.info.lifecycle_stage == "deleted":
        yield Finding(
            "stage run",
            plan.stage,
            None,
            "the stage's run is not in MLflow" if run is None else "the stage's run was deleted",
            "make it again" if run is None else "restore it",
            partial(_bring_back, snapshot, sides, run),
        )
    elif run.info.status == "RUNNING" or (done and run.info.status != "FINISHED"):
        state = "done" if done else "not done"
        yield Finding(
            "stage run",
            plan.stage,
            None,
            f"the stage's run is {run.info.status}, but nobody works on the stage, which is {state}",
            f"end it as {'FINISHED' if done else 'KILLED'}",
            partial(_close, snapshot, sides, plan),
        )


def _is_done(snapshot: StageSnapshot, sides: Sides) -> bool:
    study = snapshot.stored.optuna_study
    return stage_budget(sides.storage, study).is_spent(count(study, sides.leases))


def _close(snapshot: StageSnapshot, sides: Sides, plan: Plan) -> None:
    study = snapshot.stored.optuna_study
    begun = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    if any(sides.is_held(trial) for trial in begun):
        return  # somebody has begun to work on it
    done = _is_done(snapshot, sides)
    if not close_stage_run(sides.mlflow, plan, study, done=done):
        raise UserError("MLflow cannot be written to")


def _bring_back(snapshot: StageSnapshot, sides: Sides, run: Run | None) -> None:
    client, plan = sides.mlflow.client, snapshot.plan
    if run is not None:
        client.restore_run(run.info.run_id)
    else:
        plan = replace(plan, run_id=open_stage_run(sides.mlflow, plan).run_id)
        plan.save(snapshot.stored.optuna_study)
        for runs in (snapshot.runs or {}).values():
            for child in runs:
                client.set_tag(child.info.run_id, "mlflow.parentRunId", plan.run_id)
    _close(snapshot, sides, plan)
