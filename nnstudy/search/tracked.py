"""What MLflow is told of a stage and of its trials."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import optuna
import torch
from optuna.distributions import distribution_to_json

from nnstudy.data import Data
from nnstudy.study.sources import hash_of_files
from nnstudy.tracking import StageRun, Tracker, TrialRun, environment
from nnstudy.training import Record

if TYPE_CHECKING:
    from nnstudy.search.plan import Plan
    from nnstudy.search.stage_work import StageWork


def open_trial_run(work: StageWork, trial: optuna.Trial) -> TrialRun:
    """Returns the MLflow run of a trial, with what is known of it at its start."""
    plan = work.plan
    started = trial.datetime_start
    run = work.tracker.trial_run(
        plan.experiment_id,
        plan.run_id,
        number=trial.number,
        name=f"{plan.stage}-{trial.number:03d}",
        key=f"{plan.key}/{trial.number}",
        params=with_logarithms(trial.params, trial.distributions),
        tags={
            "nnstudy.study": plan.study,
            "nnstudy.stage": plan.stage,
            "nnstudy.trial": trial.number,
            "nnstudy.state": "running",
            "nnstudy.seed": plan.seed,
            "nnstudy.sources": hash_of_files(plan.sources) if plan.sources else "",
            "nnstudy.device": work.settings.device,
            "nnstudy.threads": torch.get_num_threads(),
            "nnstudy.distributions": json.dumps(
                {
                    name: json.loads(distribution_to_json(asked))
                    for name, asked in trial.distributions.items()
                }
            ),
            **environment(),
        },
        started_ms=round(started.timestamp() * 1000) if started else None,
    )
    track_data(work.tracker, run.run_id, work.data)
    return run


def track_data(tracker: Tracker, run_id: str, data: Data) -> None:
    """Records the data as the input of a run."""
    facts = data.describe()
    tracker.log_dataset(run_id, data.name, data.digest, facts, {"type": "local", "name": data.name})


def with_logarithms(params: Mapping[str, Any], distributions: Mapping[str, Any]) -> dict[str, Any]:
    """Adds ``log10_<name>`` for parameters searched on a log scale.

    MLflow's parallel-coordinates plot has no logarithmic axes.
    """
    logarithms = {
        f"log10_{name}": round(math.log10(value), 6)
        for name, value in params.items()
        if getattr(distributions[name], "log", False)
    }
    return {**params, **logarithms}


def open_stage_run(tracker: Tracker, plan: Plan, *, note: str = "") -> StageRun:
    """Returns the MLflow run of a stage, with its plan."""
    return tracker.stage_run(
        plan.experiment_id,
        plan.study,
        plan.stage,
        key=plan.key,
        tags=environment(),
        params={
            "epochs": plan.epochs,
            "seed": plan.seed,
            "metric": plan.metric,
            "direction": plan.direction,
            "data": plan.data["name"],
        },
        note=note,
    )


def close_stage_run(tracker: Tracker, plan: Plan, *, note: str, done: bool) -> None:
    """Ends the run of a stage, with what came of it; a later launch opens it again.

    What a later launch may change stands in tags, since a parameter of MLflow never changes.
    """
    run = open_stage_run(tracker, plan)
    run.set_note(note)
    run.set_tags(
        {
            "nnstudy.trials": plan.trials,
            "nnstudy.sampler": json.dumps(plan.sampler),
            "nnstudy.pruner": json.dumps(plan.pruner),
        }
    )
    run.finish("FINISHED" if done else "KILLED")


def curves(record: Record) -> dict[str, float]:
    """Returns what a trial's run is told of a validation."""
    return {
        **record.values,
        "epoch": record.epoch,
        "examples_seen": float(record.examples_seen),
        "seconds": record.seconds,
    }


def best_curves(best: Record | None, metric: str) -> dict[str, float]:
    """Returns what is told once of the best validation: its scores, and when it was."""
    if best is None:
        return {}
    chosen = {
        name: value
        for name, value in best.values.items()
        if name == metric or name.split("/")[-1] == "valid"
    }
    return {**chosen, "epoch": best.epoch}


def last_step(tracker: Tracker, run_id: str) -> int:
    """Returns the last validation that a trial's run was told of, 0 if there is none."""
    told = tracker.client.get_metric_history(run_id, "epoch")
    return max((int(point.step) for point in told), default=0)
