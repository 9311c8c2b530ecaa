"""Confirming a search, top to bottom: choose, store, train again, compare, look at the test part."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna

from nnstudy.engines import ray_cluster
from nnstudy.engines.joining import (
    load_here,
    refuse_missing_tracking,
    refuse_other_stages,
    refuse_other_tracking,
)
from nnstudy.engines.options import LaunchOptions
from nnstudy.engines.preparation import Preparation
from nnstudy.engines.ray_cluster import RayCluster
from nnstudy.engines.running import run_stages
from nnstudy.engines.storing import track_stage
from nnstudy.errors import UserError
from nnstudy.search import requests
from nnstudy.search.confirmation.look import look_once
from nnstudy.search.confirmation.members import (
    Selection,
    best_configurations,
    choose_source,
    confirmation_plan,
    enqueue,
    keep_selection,
    selection_of,
)
from nnstudy.search.confirmation.outcome import Confirmation, confirmation_of, keep_outcome
from nnstudy.search.confirmation.taken_look import TakenLook, taken_look
from nnstudy.search.confirmation.words import conclusion
from nnstudy.search.endings import facts_of
from nnstudy.search.events import Emit, Event, ignore
from nnstudy.search.interruption import Interruption
from nnstudy.search.keeping import fetch_checkpoint
from nnstudy.search.locks import study_lock
from nnstudy.search.patience import database_errors_explained
from nnstudy.search.plan import Plan
from nnstudy.search.results import stage_story
from nnstudy.search.storage import open_storage, storage_url
from nnstudy.search.stored import (
    StoredStage,
    is_begun,
    load_stage,
    refuse_differences,
    require_stages,
)
from nnstudy.search.test_looks import test_looks
from nnstudy.secret_urls import mask
from nnstudy.study import Study

_FEWEST_SEEDS = 2


@dataclass(frozen=True)
class ConfirmResult:
    """What a confirmation ended with.

    Attributes:
        study: Name of the study.
        confirmation: Its trainings, and what they tell.
        complete: Whether all of them have ended.
        timed_out: Whether it ended because its time was over.
        test: What was seen of the test part, in this confirmation or an earlier one of the same
            stage; None where nothing was.
        test_looks: How often the study's test part was looked at in all.
        storage: URL of Optuna's storage, its password masked.
        tracking: URI of MLflow, its password masked.
    """

    study: str
    confirmation: Confirmation
    complete: bool
    timed_out: bool
    test: TakenLook | None
    test_looks: int
    storage: str
    tracking: str

    @property
    def is_test_outdated(self) -> bool:
        """Whether the test part was looked at for another configuration, or with other seeds."""
        first, seeds = self.confirmation.first, self.confirmation.selection.seeds
        if self.test is None or first is None:
            return False
        return (self.test.trial, len(self.test.scores)) != (first.trial, seeds)

    def describe(self) -> dict[str, Any]:
        """Returns all there is to tell, as JSON-ready values."""
        return {
            **self.confirmation.describe(),
            "conclusion": conclusion(self.confirmation),
            "timed_out": self.timed_out,
            "test": self.test and vars(self.test),
            "test_outdated": self.is_test_outdated,
            "test_looks": self.test_looks,
            "storage": self.storage,
            "tracking": self.tracking,
        }


def confirm(
    name: str,
    *,
    top: int = 5,
    seeds: int = 5,
    stage: str | None = None,
    test: bool = True,
    study: Study | str | None = None,
    emit: Emit = ignore,
    interruption: Interruption | None = None,
    **options: Any,
) -> ConfirmResult:
    """Trains a stored study's best configurations again with several seeds, and compares them.

    Where that was begun before, it goes on; more configurations or seeds are added to those there
    are.

    Args:
        name: Name of the study, as it is stored.
        top: How many of the best configurations.
        seeds: How often each is trained.
        stage: Whose trials; default: the last stage that has complete ones.
        test: Whether to look at the test part at the end, once.
        study: The study, or where it is here: a name, or the path of a study file; default: as
            it was named at its launch.
        emit: Hears what happens, one ``Event`` each.
        interruption: Asks for an early end.
        options: Fields of ``LaunchOptions`` that say where things are and what runs the workers.

    Raises:
        UserError: If there is nothing to confirm, or anything else is wrong that the user can put
            right.
    """
    if top < 1:
        raise UserError(f"there must be at least one configuration to confirm: --top {top}")
    if seeds < _FEWEST_SEEDS:
        raise UserError(f"a spread takes at least {_FEWEST_SEEDS} seeds: --seeds {seeds}")
    given = LaunchOptions(**{**options, "name": name, "preflight": False})
    interruption = interruption or Interruption()

    def run(given: LaunchOptions, cluster: RayCluster | None) -> ConfirmResult:
        asked = _Asked(name, top, seeds, stage, study, given, emit)
        return _confirm(asked, interruption, cluster, test=test)

    with database_errors_explained():
        if given.engine == "local":
            return run(given, None)
        with ray_cluster.connected(given.ray) as cluster:
            return run(replace(given, workers=given.workers or cluster.workers), cluster)


class _Asked:
    """A confirmation, looked at and found possible."""

    def __init__(
        self,
        name: str,
        top: int,
        seeds: int,
        stage: str | None,
        study: Study | str | None,
        given: LaunchOptions,
        emit: Emit,
    ) -> None:
        storage = open_storage(storage_url(given.storage), create=False)
        self.stored = require_stages(storage, name)
        source = choose_source(self.stored, stage)
        self.configurations = best_configurations(source, top)
        self.seeds = seeds
        refuse_missing_tracking(given)
        if isinstance(study, Study):
            self.prepared = Preparation(study, None, given, emit)
        else:
            loaded = load_here(name, study or self.stored[0].plan.reference)
            self.prepared = Preparation(loaded.study, loaded, given, emit)
        refuse_other_stages(self.prepared, self.stored)
        refuse_other_tracking(self.prepared, self.stored)
        plans = {plan.stage: plan for plan in self.prepared.plans}
        self.source = plans[source.plan.stage]
        self.prepared.epoch_seconds = _epoch_seconds(source, self.configurations)
        if len(self.configurations) < top:
            self._say(
                f"{source.plan.name} has {len(self.configurations)} different complete"
                f" configurations, not {top}: these are confirmed"
            )

    def store(self) -> tuple[Plan, optuna.Study]:
        """Makes the confirmation's study and run where they are missing, and its trainings."""
        prepared = self.prepared
        plan = confirmation_plan(self.stored, self.source)
        with study_lock(prepared.storage, plan.study):
            found = load_stage(prepared.storage, plan.name)
            if found is not None and is_begun(found):
                stored = Plan.of(found)
                refuse_differences(prepared.study, stored, plan)
                plan = replace(
                    plan, uid=stored.uid, run_id=stored.run_id, experiment_id=stored.experiment_id
                )
                requests.resume(found)
            else:
                plan = track_stage(prepared, plan)
            made = found or optuna.create_study(
                study_name=plan.name, storage=prepared.storage, direction=plan.direction
            )
            before = selection_of(made)
            seeds = max(self.seeds, before.seeds if before else 0)
            if seeds > self.seeds:
                self._say(
                    f"{plan.name} has been given {seeds} seeds before, all of which count: leaving"
                    " scores out that are known would be choosing among results"
                )
            # Enqueued before the plan says how many they are: a worker that found more to do
            # than there is enqueued would sample.
            plan = plan.with_trials(enqueue(made, self.configurations, seeds))
            plan.save(made)
            keep_selection(made, Selection(self.source.stage, self.configurations, seeds))
        return plan, made

    def announce_cost(self, plan: Plan, seeds: int) -> None:
        """Tells what the trainings that are still to be run will cost at most."""
        self._say(
            f"confirming {len(self.configurations)} configurations of stage"
            f" {self.source.stage!r} with {seeds} seeds each: {len(self.configurations) * seeds}"
            f" trainings of up to {plan.epochs:g} epochs"
        )
        self.prepared.announce_cost()

    def _say(self, text: str) -> None:
        self.prepared.emit(Event("message", {"text": text}))


def _confirm(
    asked: _Asked, interruption: Interruption, cluster: RayCluster | None, *, test: bool
) -> ConfirmResult:
    prepared = asked.prepared
    plan, study = asked.store()
    prepared.plans = [plan]
    found = _outcome(plan, study)
    asked.announce_cost(plan, found.selection.seeds)
    run_stages(prepared, [(plan, study)], interruption, cluster)
    found = _outcome(plan, study)
    if found.is_complete:
        keep_outcome(study, found)
        if test:
            _look(prepared, study, found)
        _tell_mlflow(prepared, plan, study, found)
    looks = [
        look
        for stage in require_stages(prepared.storage, plan.study)
        for look in test_looks(stage.optuna_study)
    ]
    return ConfirmResult(
        study=plan.study,
        confirmation=found,
        complete=found.is_complete,
        timed_out=interruption.timed_out,
        test=taken_look(study),
        test_looks=len(looks),
        storage=mask(prepared.storage_url),
        tracking=prepared.tracker.masked_uri,
    )


def _outcome(plan: Plan, study: optuna.Study) -> Confirmation:
    found = confirmation_of(plan, study)
    assert found is not None, "the selection was stored before"
    return found


def _look(prepared: Preparation, study: optuna.Study, found: Confirmation) -> None:
    """Looks at the test part; what is missing for it does not spoil the rest."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            look_once(
                prepared.storage,
                study,
                found,
                declared=prepared.study,
                data=prepared.data,
                settings=prepared.options.settings,
                fetch=_fetcher(prepared, Path(scratch)),
            )
        except UserError as error:
            text = f"the test part was not looked at: {error}"
            prepared.emit(Event("warning", {"text": text}))


def _fetcher(prepared: Preparation, directory: Path) -> Callable[[str], Path]:
    return lambda place: fetch_checkpoint(prepared.tracker, place, directory)


def _tell_mlflow(
    prepared: Preparation, plan: Plan, study: optuna.Study, found: Confirmation
) -> None:
    """Keeps the result with the confirmation's run; where MLflow is away, Optuna has it."""
    run = prepared.tracker.run(plan.run_id)
    look = taken_look(study)
    told = {**found.describe(), "test": look and vars(look)}
    run.log_dict(told, "confirmation.json")
    run.set_tags({"nnstudy.conclusion": conclusion(found)})
    run.set_note(stage_story(plan, study))
    run.flush()


def _epoch_seconds(stage: StoredStage, configurations: Sequence[Any]) -> float | None:
    """Returns what an epoch took in the search, on the average of the configurations."""
    trials = stage.optuna_study.get_trials(deepcopy=False)
    facts = [facts_of(trials[chosen.trial]) for chosen in configurations]
    epochs = sum(fact.get("epochs", 0) for fact in facts)
    return sum(fact.get("seconds", 0.0) for fact in facts) / epochs if epochs else None
