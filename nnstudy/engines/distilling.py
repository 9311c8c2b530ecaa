"""Distilling an ensemble into one network, top to bottom: look, teach, train, measure, tell."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import torch

from nnstudy.engines.joining import (
    load_here,
    refuse_missing_tracking,
    refuse_other_stages,
    refuse_other_tracking,
)
from nnstudy.engines.options import LaunchOptions
from nnstudy.engines.preparation import Preparation
from nnstudy.engines.ray_cluster import RayCluster, connected_if_asked
from nnstudy.engines.running import run_stages
from nnstudy.engines.storing import track_stage
from nnstudy.ensembles.candidates import searched
from nnstudy.ensembles.distillation.outcome import STUDENT, Distillation, measure
from nnstudy.ensembles.distillation.teaching import TeachingEnsemble
from nnstudy.ensembles.distillation.words import conclusion, markdown
from nnstudy.ensembles.predictions import Predictor, predict
from nnstudy.errors import UserError
from nnstudy.search import requests
from nnstudy.search.distillation import answers
from nnstudy.search.distillation.lesson import Lesson, conclude, distillation_plan, enqueue_hard
from nnstudy.search.distillation.students import teachable
from nnstudy.search.endings import ending_of, facts_of
from nnstudy.search.evaluation import choose_trial
from nnstudy.search.events import Emit, Event, ignore
from nnstudy.search.interruption import Interruption
from nnstudy.search.keeping import fetch_checkpoint
from nnstudy.search.locks import study_lock
from nnstudy.search.patience import database_errors_explained
from nnstudy.search.plan import Plan
from nnstudy.search.rebuilding import ask_again
from nnstudy.search.storage import open_storage, storage_url
from nnstudy.search.stored import is_begun, load_stage, refuse_differences, require_stages
from nnstudy.secret_urls import mask
from nnstudy.study import Study
from nnstudy.training import Training

DEFAULT_TRIALS = 8
_FEWEST_TRIALS = 2


@dataclass(frozen=True)
class DistillResult:
    """What a distillation ended with.

    Attributes:
        plan: Of its stage.
        distillation: What came of it; None where its trials have not all ended.
        timed_out: Whether it ended because its time was over.
        storage: URL of Optuna's storage, its password masked.
        tracking: URI of MLflow, its password masked.
    """

    plan: Plan
    distillation: Distillation | None
    timed_out: bool
    storage: str
    tracking: str

    @property
    def complete(self) -> bool:
        """Whether all of its trials have ended."""
        return self.distillation is not None

    def describe(self) -> dict[str, Any]:
        """Returns all there is to tell, as JSON-ready values."""
        found = self.distillation
        return {
            "study": self.plan.study,
            "stage": self.plan.stage,
            **(found.describe() if found else {}),
            "complete": self.complete,
            "conclusion": conclusion(found) if found else None,
            "timed_out": self.timed_out,
            "run_id": self.plan.run_id,
            "storage": self.storage,
            "tracking": self.tracking,
        }


@dataclass(frozen=True)
class _Wanted:
    """What was asked for."""

    trials: int
    epochs: float | None
    stage: str | None
    trial: int | None


def distill(
    name: str,
    *,
    trials: int = DEFAULT_TRIALS,
    epochs: float | None = None,
    stage: str | None = None,
    trial: int | None = None,
    study: Study | str | None = None,
    output: Path = Path("mlruns/ensembles"),
    emit: Emit = ignore,
    interruption: Interruption | None = None,
    **options: Any,
) -> DistillResult:
    """Trains one network on the answers of a study's ensemble, and tells what it keeps of it.

    Its students are the trials of a stage of the study's, in which mix and temperature are
    searched. Where that was begun before, it goes on; with more trials, they are added.

    Args:
        name: Name of the study, as it is stored; it has an ensemble.
        trials: Students in all, the first of which learns the labels alone.
        epochs: How long each is trained. Default: as its configuration was in the search.
        stage: Of the trial whose configuration they have. Default: the last one.
        trial: Its number. Default: the best one.
        study: The study, or where it is here: a name, or the path of a study file; default: as
            it was named at its launch.
        output: Where the ensembles of studies are kept.
        emit: Hears what happens, one ``Event`` each.
        interruption: Asks for an early end.
        options: Fields of ``LaunchOptions`` that say where things are and what runs the workers.

    Raises:
        UserError: If there is no ensemble, what it was made of cannot be had any more, its loss
            cannot be taught, or anything else is wrong that the user can put right.
    """
    if trials < _FEWEST_TRIALS:
        raise UserError(f"a student and one to compare it with are two trials: --trials {trials}")
    if epochs is not None and not epochs > 0:
        raise UserError(f"--epochs must be above 0, got {epochs:g}")
    given = LaunchOptions(**{**options, "name": name, "preflight": False})
    interruption = interruption or Interruption()

    with (
        database_errors_explained(),
        connected_if_asked(given) as (given, cluster),
        tempfile.TemporaryDirectory() as scratch,
    ):
        wanted = _Wanted(trials, epochs, stage, trial)
        asked = _Asked(wanted, study, output, given, emit, Path(scratch))
        return _distill(asked, interruption, cluster)


class _Asked:
    """A distillation, looked at and found possible."""

    def __init__(
        self,
        wanted: _Wanted,
        study: Study | str | None,
        output: Path,
        given: LaunchOptions,
        emit: Emit,
        scratch: Path,
    ) -> None:
        assert given.name is not None
        storage = open_storage(storage_url(given.storage), create=False)
        self.stored = require_stages(storage, given.name)
        self.wanted = wanted
        stages = searched(self.stored)
        source, self.trial = choose_trial(stages, given.name, wanted.stage, wanted.trial)
        refuse_missing_tracking(given)
        self.teacher = TeachingEnsemble.read(output / given.name, self.stored)
        if isinstance(study, Study):
            self.prepared = Preparation(study, None, given, emit)
        else:
            loaded = load_here(given.name, study or self.stored[0].plan.reference)
            self.prepared = Preparation(loaded.study, loaded, given, emit)
        prepared = self.prepared
        refuse_other_stages(prepared, self.stored)
        refuse_other_tracking(prepared, self.stored)
        self.source = {plan.stage: plan for plan in prepared.plans}[source.plan.stage]
        self._refuse_unteachable()
        self.predictor = Predictor(
            prepared.study,
            prepared.sources.hash if prepared.sources else "",
            prepared.data,
            given.settings,
            self.fetch,
            output / given.name,
        )
        self._scratch = scratch
        self.pool = self.teacher.ask(self.predictor)
        if since := self.teacher.trials_since(self.stored):
            text = (
                f"{since} trials of the search have ended since the ensemble was made; to learn from"
                f" them too, make it again: nnstudy ensemble {given.name}"
            )
            emit(Event("warning", {"text": text}))

    def fetch(self, place: str) -> Path:
        """Fetches a checkpoint that is kept in MLflow."""
        return fetch_checkpoint(self.prepared.tracker, place, self._scratch)

    def _refuse_unteachable(self) -> None:
        data, device = self.prepared.data, self.prepared.options.settings.device
        name, number = self.source.name, self.trial.number
        if ending_of(self.trial) not in ("complete", "pruned"):
            raise UserError(f"trial {number} of {name!r} did not come through its training")
        made = ask_again(self.prepared.study, self.source, data, self.trial, device)
        recipe = made.recipe if isinstance(made, Training) else made
        network = teachable(recipe, self.prepared.study.name, data).network
        # What gives no score of each class is refused before anything is trained.
        predict(network, data.selection.take(torch.arange(1)), data, device)

    def store(self) -> tuple[Plan, optuna.Study]:
        """Makes the stage and its run where they are missing, with what it learns from."""
        prepared = self.prepared
        lesson = Lesson(self.teacher.digest, self.source.stage, self.trial.number)
        taught = None
        if not self._plan(lesson).run_id:
            self._say(
                f"asking the {len(self.teacher.hashes)} networks of the ensemble for their answers"
                " to the training part"
            )
            taught = self.teacher.teach(self.predictor, self.source.data_share)
            lesson = replace(lesson, answers=answers.hash_of(taught))
        with study_lock(prepared.storage, self.source.study):
            self.stored = require_stages(prepared.storage, self.source.study)
            plan = self._plan(lesson)
            found = load_stage(prepared.storage, plan.name)
            if found is not None and is_begun(found):
                refuse_differences(prepared.study, Plan.of(found), plan)
                requests.resume(found)
                plan.save(found)
                return plan, found
            assert taught is not None, "no stage of this lesson was stored before"
            plan = track_stage(prepared, plan)
            answers.keep(prepared.tracker, plan.run_id, taught)
            made = found or optuna.create_study(
                study_name=plan.name, storage=prepared.storage, direction=plan.direction
            )
            enqueue_hard(made, prepared.data.task)
            # Last, so that after a crash in between all of it is done again.
            plan.save(made)
        return plan, made

    def _plan(self, lesson: Lesson) -> Plan:
        wanted = self.wanted
        return distillation_plan(
            self.stored,
            self.source,
            self.trial,
            lesson,
            trials=wanted.trials,
            epochs=wanted.epochs,
        )

    def announce_cost(self, plan: Plan) -> None:
        """Tells what the trainings that are still to be run will cost at most."""
        facts = facts_of(self.trial)
        epochs = facts.get("epochs", 0)
        self.prepared.epoch_seconds = facts.get("seconds", 0.0) / epochs if epochs else None
        self._say(
            f"stage {plan.stage}: {plan.trials} students of up to {plan.epochs:g} epochs, with the"
            f" configuration of trial {self.trial.number} of stage {self.source.stage!r}"
        )
        self.prepared.announce_cost()

    def _say(self, text: str) -> None:
        self.prepared.emit(Event("message", {"text": text}))


def _distill(
    asked: _Asked, interruption: Interruption, cluster: RayCluster | None
) -> DistillResult:
    prepared = asked.prepared
    plan, study = asked.store()
    prepared.plans = [plan]
    asked.announce_cost(plan)
    progress = run_stages(prepared, [(plan, study)], interruption, cluster)
    found = None
    if progress.is_stage_done(study):
        trials = study.get_trials(deepcopy=False)
        found = measure(plan, trials, asked.teacher, asked.pool, asked.predictor)
        conclude(study, conclusion(found))
        _tell_mlflow(prepared, found)
    return DistillResult(
        plan,
        found,
        interruption.timed_out,
        mask(prepared.storage_url),
        prepared.tracker.masked_uri,
    )


def _tell_mlflow(prepared: Preparation, found: Distillation) -> None:
    """Keeps the result with the stage's run; where MLflow is away, it can be measured again."""
    run = prepared.tracker.run(found.plan.run_id)
    run.log_dict({**found.describe(), "conclusion": conclusion(found)}, "distillation.json")
    run.set_tags({"nnstudy.conclusion": conclusion(found), "nnstudy.digest": found.teacher})
    student, now = found.rows[STUDENT].numbers, time.time_ns() // 1_000_000
    run.log({f"{name}/selection": value for name, value in student.items()}, step=0, timestamp=now)
    run.set_note(markdown(found))
    run.flush()
