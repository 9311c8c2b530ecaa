"""The runs of MLflow beside the trials and stages of Optuna."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial

from nnstudy.doctor.finding import Finding
from nnstudy.doctor.settling import remake, settle, unlike
from nnstudy.doctor.snapshot import Sides, StageSnapshot

if TYPE_CHECKING:
    from mlflow.entities import Run


def compare_runs(snapshot: StageSnapshot, sides: Sides) -> Iterator[Finding]:
    """Yields what differs between a stage's runs and its trials."""
    if snapshot.runs is None:
        return
    for trial in snapshot.finished:
        yield from _compare_finished(snapshot, sides, trial)
    for trial in snapshot.running:
        for run in snapshot.runs_of(trial)[:1]:
            if run.info.status == "RUNNING" and not snapshot.is_held(trial):
                yield Finding(
                    "run",
                    snapshot.plan.stage,
                    trial.number,
                    "its run is RUNNING, but nobody works on the trial",
                    "end the run as KILLED; whoever goes on with the trial opens it again",
                    partial(_end_interrupted, snapshot, sides, trial, run),
                )
    for number, runs in snapshot.runs.items():
        if number >= len(snapshot.trials):
            for run in runs:
                yield Finding(
                    "run",
                    snapshot.plan.stage,
                    number,
                    f"the run {run.info.run_id} belongs to a trial that Optuna does not have",
                    "delete the run (MLflow can restore it)",
                    partial(_delete_without_trial, snapshot, sides, number, run),
                )


def _compare_finished(
    snapshot: StageSnapshot, sides: Sides, trial: FrozenTrial
) -> Iterator[Finding]:
    stage, plan, runs = snapshot.plan.stage, snapshot.plan, snapshot.runs_of(trial)
    if not runs:
        deleted = snapshot.deleted.get(trial.number, [])
        yield Finding(
            "run",
            stage,
            trial.number,
            "its run was deleted in MLflow" if deleted else "it has no run in MLflow",
            "restore the run" if deleted else "make a run of what is still known",
            partial(_bring_back, snapshot, sides, trial, deleted),
        )
        return
    for run in runs[1:]:
        yield Finding(
            "run",
            stage,
            trial.number,
            f"it has a second run, {run.info.run_id}",
            f"keep {runs[0].info.run_id}, copy to it what the second has alone, and delete that"
            " (MLflow can restore it)",
            partial(_merge, sides, runs[0], run),
        )
    if differing := list(unlike(plan, trial, runs[0])):
        yield Finding(
            "run",
            stage,
            trial.number,
            f"its run has {', '.join(differing)}",
            "write what Optuna has",
            partial(settle, sides.mlflow, plan, trial, runs[0].info.run_id),
        )


def _end_interrupted(snapshot: StageSnapshot, sides: Sides, trial: FrozenTrial, run: Run) -> None:
    # Nobody can take the trial over while the stage's lock is held.
    if not sides.is_held(trial):
        sides.mlflow.client.set_terminated(run.info.run_id, "KILLED")


def _delete_without_trial(snapshot: StageSnapshot, sides: Sides, number: int, run: Run) -> None:
    if number >= len(snapshot.stored.optuna_study.get_trials(deepcopy=False)):
        sides.mlflow.client.delete_run(run.info.run_id)


def _bring_back(
    snapshot: StageSnapshot, sides: Sides, trial: FrozenTrial, deleted: list[Run]
) -> None:
    if deleted:
        sides.mlflow.client.restore_run(deleted[0].info.run_id)
        settle(sides.mlflow, snapshot.plan, trial, deleted[0].info.run_id)
    else:
        remake(sides.mlflow, snapshot.plan, trial)


def _merge(sides: Sides, kept: Run, double: Run) -> None:
    """Copies the steps that only the second run has, then deletes it."""
    client = sides.mlflow.client
    for name in double.data.metrics:
        there = {point.step for point in client.get_metric_history(kept.info.run_id, name)}
        missing = [
            point
            for point in client.get_metric_history(double.info.run_id, name)
            if point.step not in there
        ]
        for start in range(0, len(missing), 900):  # MLflow takes 1,000 at a time
            client.log_batch(kept.info.run_id, metrics=missing[start : start + 900])
    client.delete_run(double.info.run_id)
