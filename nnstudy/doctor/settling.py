"""Making the run of a finished trial say what Optuna says of the trial."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial, TrialState

from nnstudy.doctor.snapshot import facts
from nnstudy.search.endings import STATUSES, ending_of
from nnstudy.search.judging import verdict_note, verdict_tags
from nnstudy.search.plan import Plan
from nnstudy.search.tracked import milliseconds, open_trial_run
from nnstudy.tracking import Tracker
from nnstudy.tracking.buffer import cut, valid_key

if TYPE_CHECKING:
    from mlflow.entities import Run

_LONGEST_TAG = 8000


def unlike(plan: Plan, trial: FrozenTrial, run: Run) -> Iterator[str]:
    """Yields in what a run does not match its finished trial, in words."""
    status = STATUSES[ending_of(trial)]
    if run.info.status != status:
        yield f"status {run.info.status} instead of {status}"
    for name, value in _tags(trial).items():
        found = run.data.tags.get(name)
        if found != value:
            yield f"{name} {_quoted(found)} instead of {_quoted(value)}"
    for name, number in _known_best(plan, trial).items():
        shown = run.data.metrics.get(name)
        if shown is None:
            yield f"no {name}"
        elif not math.isclose(shown, number, rel_tol=1e-9):
            yield f"{name} {shown:.6g} instead of {number:.6g}"


def settle(tracker: Tracker, plan: Plan, trial: FrozenTrial, run_id: str) -> None:
    """Writes status, tags and best values of a finished trial to its run."""
    from mlflow.entities import Metric, RunTag

    run = tracker.client.get_run(run_id)
    known = _known_best(plan, trial)
    best = {**_best_of_curves(tracker, plan, trial, run), **known} if known else {}
    # Of several values at a step MLflow shows the one with the latest time stamp.
    now = time.time_ns() // 1_000_000
    tracker.client.log_batch(
        run_id,
        metrics=[
            Metric(name, value, now, 0)
            for name, value in best.items()
            if run.data.metrics.get(name) != value
        ],
        tags=[RunTag(name, value) for name, value in _tags(trial).items()],
    )
    tracker.client.set_terminated(
        run_id, STATUSES[ending_of(trial)], milliseconds(trial.datetime_complete)
    )


def remake(tracker: Tracker, plan: Plan, trial: FrozenTrial) -> None:
    """Gives a finished trial whose run is gone a new one, with all that is still known."""
    run = open_trial_run(tracker, plan, trial, threads=facts(trial).get("threads"))
    if facts(trial).get("traceback"):
        run.log_text(facts(trial)["traceback"], "traceback.txt")
    if note := verdict_note(facts(trial)):
        run.set_note(note)
        run.flush()
    settle(tracker, plan, trial, run.run_id)


def _tags(trial: FrozenTrial) -> dict[str, str]:
    tags = {"nnstudy.state": ending_of(trial)}
    if "reason" in facts(trial):
        tags["nnstudy.reason"] = cut(facts(trial)["reason"], _LONGEST_TAG)
    return tags | verdict_tags(facts(trial))


def _known_best(plan: Plan, trial: FrozenTrial) -> dict[str, float]:
    """Returns what Optuna knows of the best validation, as the run should have it."""
    epoch = facts(trial).get("best_epoch")
    if epoch is None:
        return {}
    known = {"best/epoch": float(epoch)}
    if trial.state is TrialState.COMPLETE and trial.value is not None:
        known[f"best/{valid_key(plan.metric)}"] = trial.value
    return known


def _best_of_curves(tracker: Tracker, plan: Plan, trial: FrozenTrial, run: Run) -> dict[str, float]:
    """Returns the other values of the best validation, from the run's own curves."""
    history = tracker.client.get_metric_history
    best_epoch = facts(trial)["best_epoch"]
    steps = [
        point.step
        for point in history(run.info.run_id, "epoch")
        if math.isclose(point.value, best_epoch)
    ]
    if not steps:
        return {}
    chosen = [
        name
        for name in run.data.metrics
        if not name.startswith("best/")
        and (name == valid_key(plan.metric) or name.rpartition("/")[2] == "valid")
    ]
    return {
        f"best/{name}": point.value
        for name in chosen
        for point in history(run.info.run_id, name)
        if point.step == steps[-1]
    }


def _quoted(text: str | None) -> str:
    return "missing" if text is None else repr(cut(text, 60))
