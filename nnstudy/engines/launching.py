"""A launch, top to bottom: look at everything, store it, run it stage by stage."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import optuna

from nnstudy.engines import ensembling
from nnstudy.engines.ensembling import EnsembleResult
from nnstudy.engines.options import LaunchOptions
from nnstudy.engines.preparation import Preparation
from nnstudy.engines.ray_cluster import RayCluster, connected_if_asked
from nnstudy.engines.running import Progress, run_stages
from nnstudy.engines.storing import store_stage
from nnstudy.errors import UserError
from nnstudy.search.budget import epochs_trained
from nnstudy.search.endings import ATTRIBUTE, ending_of
from nnstudy.search.events import Emit, Event, ignore
from nnstudy.search.extension import can_extend, follower
from nnstudy.search.interruption import Interruption
from nnstudy.search.patience import database_errors_explained
from nnstudy.search.plan import Plan
from nnstudy.search.ranges.borders import Border
from nnstudy.search.results import best_trial, borders_of
from nnstudy.search.stored import StoredStage
from nnstudy.secret_urls import mask
from nnstudy.study import Study
from nnstudy.study.loading import load_study


@dataclass(frozen=True)
class LaunchResult:
    """What a launch ended with.

    Attributes:
        study: Name of the study.
        finished: Finished trials of all stages.
        trials: Trials that all stages are to end with.
        best: The best complete trial of the last stage that has one, or None.
        stage: The stage it belongs to.
        facts: What is known of the best trial: its best epoch, its run, its checkpoint.
        first: The first trial of the first stage, or None.
        endings: How many trials ended in which way: complete, pruned, diverged, failed.
        seconds: Time that all trials together have trained and validated.
        metric: What was optimised.
        borders: By stage, the edges of ranges that the good values crowd.
        extended: The stages that other ones go on with in wider ranges, each with the name of the
            one that does.
        extendable: Whether edges of the last stage are crowded that ``extend_borders`` would go
            beyond.
        complete: Whether the budget of every stage is spent.
        timed_out: Whether the launch ended because its time was over.
        epochs: That the finished trials have trained together.
        max_epochs_total: Epochs that they may train, or None.
        flat: Stages that have ended because nothing more was to be expected, each with how many
            trials had improved nothing.
        storage: URL of Optuna's storage, its password masked.
        tracking: URI of MLflow, its password masked.
        ensemble: What was made of the search, if that was asked for and it is complete.
        not_ensembled: Why there is none although it was.
    """

    study: str
    finished: int
    trials: int
    best: optuna.trial.FrozenTrial | None
    stage: str | None
    facts: dict[str, Any]
    first: optuna.trial.FrozenTrial | None
    endings: dict[str, int]
    seconds: float
    metric: str
    borders: dict[str, list[Border]]
    extended: dict[str, str]
    extendable: bool
    complete: bool
    timed_out: bool
    epochs: float
    max_epochs_total: float | None
    flat: dict[str, int]
    storage: str
    tracking: str
    ensemble: EnsembleResult | None = None
    not_ensembled: str = ""


def launch(
    study: Study | str,
    *,
    ensemble: bool = False,
    emit: Emit = ignore,
    interruption: Interruption | None = None,
    **options: Any,
) -> LaunchResult:
    """Launches a study, or goes on with it where it is stored.

    Args:
        study: A study, or what names one: a name, or the path of a study file.
        ensemble: Whether to make an ensemble of the search when it is complete, as
            ``nnstudy.engines.ensemble`` does where nothing else is asked for.
        emit: Hears what happens, one ``Event`` each.
        interruption: Asks for an early end; on Ctrl-C without one, the current epoch is lost
            and the rest is kept.
        options: Fields of ``LaunchOptions``: ``trials=20, workers=2, storage=...``.

    Raises:
        UserError: If anything is wrong that the user can put right; before any trial runs,
            where that can be known before.
    """
    given = LaunchOptions(**options)
    loaded = load_study(study) if isinstance(study, str) else None
    declared = loaded.study if loaded else study
    assert isinstance(declared, Study)
    interruption = interruption or Interruption()
    with database_errors_explained(), connected_if_asked(given) as (given, cluster):
        prepared = Preparation(declared, loaded, given, emit)
        if ensemble:
            ensembling.refuse_unfit(prepared.plans[0])
        result = _launch(prepared, interruption, cluster)
    return _with_ensemble(result, study, given, emit) if ensemble else result


def _with_ensemble(
    result: LaunchResult, study: Study | str, given: LaunchOptions, emit: Emit
) -> LaunchResult:
    """Makes an ensemble of a complete search, whose result stands where none can be made."""
    again = f"nnstudy ensemble {result.study}"
    if not result.complete:
        reason = f"the search is not complete; of what it has there is one by {again}"
        return replace(result, not_ensembled=reason)
    try:
        made = ensembling.ensemble(
            result.study,
            study=study,
            warn=lambda text: emit(Event("warning", {"text": text})),
            storage=given.storage,
            tracking_uri=given.tracking_uri,
            artifacts=given.artifacts,
            data_directory=given.data_directory,
            settings=given.settings,
        )
    except UserError as error:
        return replace(result, not_ensembled=f"{error}\nThe search is kept: {again}")
    return replace(result, ensemble=made)


def _launch(
    prepared: Preparation, interruption: Interruption, cluster: RayCluster | None
) -> LaunchResult:
    stages, progress = carry_out(prepared, interruption, cluster)
    return _result(prepared, stages, progress, timed_out=interruption.timed_out)


def carry_out(
    prepared: Preparation, interruption: Interruption, cluster: RayCluster | None
) -> tuple[list[tuple[Plan, optuna.Study]], Progress]:
    """Stores what is prepared, and runs workers until it is done or an end is asked for.

    Args:
        prepared: What to launch.
        interruption: Asks for an early end.
        cluster: The Ray that runs the workers; None: they are processes of this machine.

    Returns:
        Plan and Optuna study of each stage, and how far they are.
    """
    prepared.announce_cost()
    stages = [store_stage(prepared, plan) for plan in prepared.plans]
    progress = run_stages(prepared, stages, interruption, cluster)
    return progress.stages(), progress


def _result(
    prepared: Preparation,
    stages: list[tuple[Plan, optuna.Study]],
    progress: Progress,
    *,
    timed_out: bool,
) -> LaunchResult:
    best, stage = None, None
    for plan, optuna_study in stages:
        found = best_trial(optuna_study)
        if found is not None:
            best, stage = found, plan.stage
    stored = [StoredStage(plan, optuna_study) for plan, optuna_study in stages]
    borders = {
        plan.stage: borders_of(plan, optuna_study.get_trials(deepcopy=False))
        for plan, optuna_study in stages
    }
    last = stages[-1][0]
    trials = [trial for _, optuna_study in stages for trial in optuna_study.get_trials()]
    return LaunchResult(
        study=prepared.study.name,
        finished=sum(trial.state.is_finished() for trial in trials),
        trials=sum(plan.trials for plan, _ in stages),
        best=best,
        stage=stage,
        facts=best.user_attrs.get(ATTRIBUTE, {}) if best else {},
        first=trials[0] if trials else None,
        endings=dict(Counter(ending_of(trial) for trial in trials if trial.state.is_finished())),
        seconds=sum(trial.user_attrs.get(ATTRIBUTE, {}).get("seconds", 0.0) for trial in trials),
        metric=stages[0][0].metric,
        borders=borders,
        extended={
            plan.stage: name for plan, _ in stages if (name := follower(stored, plan)) is not None
        },
        extendable=bool(borders[last.stage])
        and not last.extend_borders
        and can_extend(stored, last),
        complete=progress.is_done(),
        timed_out=timed_out,
        epochs=epochs_trained(trials),
        max_epochs_total=stages[0][0].max_epochs_total,
        flat={
            plan.stage: plan.flat_trials
            for plan, optuna_study in stages
            if plan.flat_trials is not None and progress.is_flat(optuna_study)
        },
        storage=mask(prepared.storage_url),
        tracking=prepared.tracker.masked_uri,
    )
