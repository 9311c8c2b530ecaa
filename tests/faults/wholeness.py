"""What must be true of Optuna, MLflow and the checkpoints when a study has ended."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path

import optuna
from mlflow.entities import Run
from optuna.trial import FrozenTrial, TrialState

from nnstudy.search.keeping import fetch_checkpoint
from nnstudy.search.plan import Plan
from nnstudy.search.reporting import is_reported
from nnstudy.search.storage import open_storage
from nnstudy.tracking import Tracker
from nnstudy.training.checkpoints import read, read_metadata
from nnstudy.training.checkpoints.names import CheckpointName
from tests.faults.harness import Scene
from tests.launching import Place

_THINNED = {
    *("update_ratio", "gradient_norm", "weight_norm", "activation_mean", "activation_std"),
    *("saturated", "dead", "gap", "speed", "memory"),
}
"""Sections of curves that are told as rarely as reports where epochs are short."""

_STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}


def assert_whole(scene: Scene, trials: int) -> None:
    """Exactly so many finished trials, each once in Optuna, in MLflow and on the disk."""
    place = scene.place
    stored = place.trials()
    assert [trial.number for trial in stored] == list(range(trials))
    assert all(trial.state.is_finished() for trial in stored), [t.state for t in stored]
    assert not [n for n, info in scene.leases().items() if info.expires_in_seconds > 0]
    _assert_runs(place, stored)
    _assert_files(place, stored)


def assert_each_trial_once(storage: str, tracking_uri: str, trials: int) -> None:
    """Of the no-op study: every trial complete, each once, with one finished run."""
    stored = optuna.load_study(study_name="noop/search", storage=open_storage(storage))
    assert [trial.number for trial in stored.trials] == list(range(trials))
    assert {trial.state for trial in stored.trials} == {TrialState.COMPLETE}
    client = Tracker(tracking_uri).client
    (experiment,) = (e for e in client.search_experiments() if e.name != "Default")
    runs = client.search_runs([experiment.experiment_id], max_results=trials + 10)
    kinds = Counter(run.data.tags["nnstudy.kind"] for run in runs)
    assert kinds == {"stage": 1, "trial": trials}
    assert {run.info.status for run in runs} == {"FINISHED"}
    by_number = {
        int(run.data.tags["nnstudy.trial"]): run for run in runs if "nnstudy.trial" in run.data.tags
    }
    for trial in stored.trials:
        assert by_number[trial.number].data.metrics["loss/valid"] == trial.value


def take_overs(scene: Scene) -> int:
    """How often a trial was taken over from another worker."""
    return sum(info.token - 1 for info in scene.leases().values())


def checkpoint_file(place: Place, trial: FrozenTrial) -> Path:
    """The checkpoint that is stored with a trial, fetched if it is an artifact of its run."""
    kept: str = trial.user_attrs["nnstudy"]["checkpoint"]
    if not kept.startswith("runs:/"):
        return Path(kept)
    tracker = Tracker(place.tracking_uri, str(place.directory / "artifacts"))
    return fetch_checkpoint(tracker, kept, place.directory / f"fetched-{trial.number}")


def time_stamps(place: Place, number: int) -> list[float]:
    """When each validation of a trial was, as MLflow has it, in seconds since 1970."""
    return [stamp / 1000 for key, _, stamp in _points(place, place.run(number)) if key == "epoch"]


def _assert_runs(place: Place, trials: list[FrozenTrial]) -> None:
    runs = place.all_runs()
    assert Counter(run.data.tags["nnstudy.kind"] for run in runs) == {
        "stage": 1,
        "trial": len(trials),
    }
    assert place.stage_run().info.status == "FINISHED"
    by_number = {int(r.data.tags.get("nnstudy.trial", -1)): r for r in runs}
    for trial in trials:
        run = by_number[trial.number]
        assert run.info.status == _STATUS[trial.state], f"trial {trial.number}"
        assert run.info.end_time is not None
        assert run.data.tags["nnstudy.state"] != "running"
        _assert_curves(place, run, trial)


def _assert_curves(place: Place, run: Run, trial: FrozenTrial) -> None:
    """Each key has each step that is told once, none is missing, and time goes on."""
    plan = Plan.of(place.study())
    last = math.ceil(plan.epochs)
    curves: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for key, step, stamp in _points(place, run):
        curves[key].append((step, stamp))
    steps = len(curves.get("epoch", []))
    assert steps > 0 or trial.state is TrialState.FAIL, f"trial {trial.number} has no curve"
    for key, points in curves.items():
        count = len(curves[_every_step(plan, key)])
        wanted = [0] if key.startswith("best/") else list(range(1, count + 1))
        if key == f"{plan.metric}_std":
            wanted = wanted[1:]  # one score has no spread
        if key.split("/")[0] in _THINNED:
            wanted = [step for step in wanted if is_reported(step, last)]
        assert [step for step, _ in points] == wanted, f"trial {trial.number}: {key}"
        stamps = [stamp for _, stamp in points]
        assert stamps == sorted(stamps), f"trial {trial.number}: {key}"
    # What MLflow's table shows.
    assert run.data.metrics.keys() == curves.keys()


def _every_step(plan: Plan, key: str) -> str:
    """The curve that has every step of the training that a curve belongs to."""
    section = key.split("/")[0]
    if plan.repeats == 1:
        return "epoch"
    if section in _THINNED:
        return f"{plan.repeat_kind}_1/epoch"
    return f"{section}/epoch" if section.startswith(f"{plan.repeat_kind}_") else "epoch"


def _points(place: Place, run: Run) -> list[tuple[str, int, int]]:
    """Every row that MLflow has of a run's curves, from its file."""
    with closing(sqlite3.connect(place.directory / "mlflow.db")) as database:
        return database.execute(
            "select key, step, timestamp from metrics where run_uuid = ? order by step",
            (run.info.run_id,),
        ).fetchall()


def _assert_files(place: Place, trials: list[FrozenTrial]) -> None:
    """Every checkpoint can be read, and nothing is left but one directory a trial."""
    directories = Counter(
        int(path.name.removeprefix("trial-").partition(".")[0])
        for path in place.checkpoints.rglob("trial-*")
    )
    assert set(directories.values()) <= {1}, directories
    files = [path for path in place.checkpoints.rglob("*") if path.is_file()]
    for file in files:
        name = CheckpointName.parse(file.name)
        assert name is not None, f"{file} is no checkpoint"
        assert name.kind != "last", file
        assert read_metadata(file)["kind"] == name.kind
        read(file)
    for trial in trials:
        if trial.state is not TrialState.FAIL:
            read(checkpoint_file(place, trial))
