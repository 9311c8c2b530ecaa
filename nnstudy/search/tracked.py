"""What MLflow is told of a stage and of its trials."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial

from nnstudy.search.confirmation.members import member_of
from nnstudy.search.importance.keeping import log_importance, measured
from nnstudy.search.importance.words import headline
from nnstudy.search.results import stage_story
from nnstudy.search.timing.comparison import concluded
from nnstudy.search.timing.picture import NAME as PICTURE
from nnstudy.search.timing.picture import timing_figure
from nnstudy.search.update_ratios import ratio_figure
from nnstudy.study.sources import hash_of_files
from nnstudy.tracking import StageRun, Tracker, TrialRun, environment
from nnstudy.training import Record
from nnstudy.training.repeated import SPREAD

if TYPE_CHECKING:
    from nnstudy.search.plan import Plan


def open_trial_run(
    tracker: Tracker,
    plan: Plan,
    trial: optuna.Trial | FrozenTrial,
    *,
    device: str = "",
    threads: int | None = None,
) -> TrialRun:
    """Returns the MLflow run of a trial, with what is known of it at its start.

    Args:
        tracker: MLflow.
        plan: The trial's stage.
        trial: Whose recipe has asked for its values.
        device: Where it is trained, where that is known.
        threads: With how many threads on the CPU, where that is known.

    Raises:
        TrackingAway: MLflow cannot be reached.
    """
    run = tracker.trial_run(
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
            **_confirmed(plan, trial),
            "nnstudy.sources": hash_of_files(plan.sources) if plan.sources else "",
            "nnstudy.device": device,
            "nnstudy.threads": threads or "",
            "nnstudy.distributions": json.dumps(
                {
                    name: json.loads(distribution_to_json(asked))
                    for name, asked in trial.distributions.items()
                }
            ),
            **environment(),
        },
        started_ms=milliseconds(trial.datetime_start),
    )
    track_data(tracker, run.run_id, plan.data)
    return run


def _confirmed(plan: Plan, trial: optuna.Trial | FrozenTrial) -> dict[str, int]:
    if plan.kind != "confirm":
        return {}
    number, seed = member_of(trial)
    return {"nnstudy.confirms": number, "nnstudy.seed_index": seed}


def milliseconds(time: datetime | None) -> int | None:
    """Returns a time of Optuna as MLflow has it: milliseconds since 1970."""
    return round(time.timestamp() * 1000) if time else None


def track_data(tracker: Tracker, run_id: str, facts: Mapping[str, Any]) -> None:
    """Records the data as the input of a run."""
    name = facts["name"]
    tracker.log_dataset(run_id, name, facts["digest"], facts, {"type": "local", "name": name})


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
            **({f"{plan.repeat_kind}s": plan.repeats} if plan.repeats > 1 else {}),
        },
        note=note,
    )


def close_stage_run(tracker: Tracker, plan: Plan, study: optuna.Study, *, done: bool) -> bool:
    """Ends the run of a stage, with what came of it; a later launch opens it again.

    What a later launch may change stands in tags, since a parameter of MLflow never changes.

    Args:
        tracker: MLflow.
        plan: The stage.
        study: The stage's Optuna study.
        done: Whether all of its trials have finished.

    Returns:
        False where MLflow could not be reached.
    """
    run = tracker.run(plan.run_id)
    # What matters takes longer to tell and to draw than many a trial, and each worker closes the
    # run.
    was_finished = run.is_finished()
    trials = study.get_trials(deepcopy=False)
    is_search = plan.kind == "search"
    found = measured(plan, trials) if done and not was_finished and is_search else None
    if not was_finished:
        run.set_note(stage_story(plan, study, headline(found) if found else ""))
    run.set_tags(
        {
            "nnstudy.trials": plan.trials,
            "nnstudy.sampler": json.dumps(plan.sampler),
            "nnstudy.pruner": json.dumps(plan.pruner),
        }
    )
    if not run.finish("FINISHED" if done else "KILLED"):
        return False
    figure = None if was_finished else ratio_figure(plan, trials)
    if figure is not None:
        run.log_figure(figure, "update_ratios.png")
    if found is not None:
        log_importance(run, plan, trials, found)
    if not was_finished and (timed := concluded(plan, trials)):
        run.log_figure(timing_figure(timed), PICTURE)
    return True


@dataclass(frozen=True)
class Curves:
    """Where the records of a training stand in a trial's run.

    Attributes:
        section: Of MLflow's charts, for one of several trainings (``fold_2``); empty for the
            trial's own records.
        names: Of the values that have a place in the section.
        with_monitors: Whether all other values are told too, in the sections that they have in a
            trial that is trained once.
    """

    section: str = ""
    names: Collection[str] = ()
    with_monitors: bool = False

    @property
    def every_step(self) -> str:
        """The curve that has a point at every step."""
        return f"{self.section}/epoch" if self.section else "epoch"

    def of(self, record: Record) -> dict[str, float]:
        """Returns what the run is told of a record."""
        if not self.section:
            return curves(record)
        # One section for each training: another slash would make several of it.
        told = {
            f"{self.section}/{name.replace('/', '.')}": value
            for name, value in record.values.items()
            if name in self.names
        }
        others = {name: v for name, v in record.values.items() if name not in self.names}
        return {
            **told,
            **(others if self.with_monitors else {}),
            self.every_step: record.epoch,
        }


def curves_of_repeat(plan: Plan, number: int, names: Collection[str]) -> Curves:
    """Returns where one of a trial's trainings stands in its run.

    Args:
        plan: The trial's stage.
        number: Of the training, from 0.
        names: Of the values that the trainings yield themselves.
    """
    # What monitors see would be some dozen curves of each, and much the same ones.
    return Curves(f"{plan.repeat_kind}_{number + 1}", names, with_monitors=number == 0)


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
        if name in (metric, f"{metric}{SPREAD}") or name.split("/")[-1] == "valid"
    }
    return {**chosen, "epoch": best.epoch}
