"""Storing a prepared study: Optuna studies, MLflow experiment and runs, where they are missing."""

from __future__ import annotations

import inspect
import tempfile
from dataclasses import replace
from pathlib import Path

import optuna

from nnstudy.engines.preparation import Preparation
from nnstudy.search import requests
from nnstudy.search.locks import study_lock
from nnstudy.search.plan import Plan
from nnstudy.search.stored import is_begun, load_stage, refuse_differences
from nnstudy.search.tracked import open_stage_run, track_data
from nnstudy.study.sources import Sources
from nnstudy.tracking import StageRun


def store_stage(prepared: Preparation, plan: Plan) -> tuple[Plan, optuna.Study]:
    """Makes a stage's Optuna study and MLflow run where they are missing.

    Returns:
        The plan, with the ids of MLflow, and the Optuna study.
    """
    with study_lock(prepared.storage, plan.study):
        found = load_stage(prepared.storage, plan.name)
        if found is not None and is_begun(found):
            stored = Plan.of(found)
            if stored.uid != plan.uid:
                # Another launch was quicker: it stored the stage since this one looked.
                refuse_differences(prepared.study, stored, plan)
                plan = stored
            elif stored != plan:
                _keep_changed_sources(prepared, stored, plan)
                plan.save(found)
            requests.resume(found)
            return plan, found
        plan = track_stage(prepared, plan)
        made = found or optuna.create_study(
            study_name=plan.name, storage=prepared.storage, direction=plan.direction
        )
        # Last, so that after a crash in between the next launch does all of it again.
        plan.save(made)
        return plan, made


def track_stage(prepared: Preparation, plan: Plan) -> Plan:
    """Makes a stage's MLflow run, and returns its plan with the ids of MLflow."""
    tracker, study = prepared.tracker, prepared.study
    experiment_id = tracker.experiment(
        plan.study,
        metric=plan.metric,
        description=study.description or inspect.getdoc(study.recipe) or "",
    )
    plan = replace(plan, experiment_id=experiment_id)
    run = open_stage_run(tracker, plan, note=f"Stage **{plan.stage}** of study **{plan.study}**.")
    if prepared.sources:
        _keep_sources(prepared.sources, run, "code")
    _keep_report(prepared, plan, run, "preflight")
    track_data(tracker, run.run_id, plan.data)
    names, logarithms = list(prepared.space.parameters), set(prepared.space.log_scaled)
    tracker.saved_view(
        plan.experiment_id,
        names,
        plan.metric,
        plan.direction == "minimize",
        tags=["nnstudy.state", "nnstudy.reason", "nnstudy.verdicts"],
        numbers=[f"log10_{name}" if name in logarithms else name for name in names],
    )
    return replace(plan, run_id=run.run_id)


def _keep_changed_sources(prepared: Preparation, stored: Plan, plan: Plan) -> None:
    """Keeps another version of the sources beside the first; trials say which one they had."""
    if prepared.sources and plan.sources != stored.sources:
        run = open_stage_run(prepared.tracker, plan)
        version = prepared.sources.hash[:8]
        _keep_sources(prepared.sources, run, f"code-{version}")
        _keep_report(prepared, plan, run, f"preflight-{version}")


def _keep_report(prepared: Preparation, plan: Plan, run: StageRun, folder: str) -> None:
    """Keeps what pre-flight found with the first stage, where it had to look."""
    if prepared.report is None or plan.position > 0:
        return
    conditions = plan.conditions(prepared.options.settings.device)
    with tempfile.TemporaryDirectory() as directory:
        prepared.subject.write_files(prepared.report, Path(directory), conditions)
        run.log_artifacts(directory, folder)


def _keep_sources(sources: Sources, run: StageRun, folder: str) -> None:
    """Keeps the study file and what it imports with the stage, so that it can be rebuilt."""
    with tempfile.TemporaryDirectory() as directory:
        sources.write_to(Path(directory))
        run.log_artifacts(directory, folder)
    run.log_dict({"main": sources.main, "hashes": sources.per_file}, f"{folder}.json")
    run.set_tags({"nnstudy.sources": sources.hash})
    run.flush()
