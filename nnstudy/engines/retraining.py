"""The best configurations of a stored search, trained again with several seeds, as one more stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import optuna

from nnstudy.engines.joining import (
    load_here,
    refuse_missing_tracking,
    refuse_other_stages,
    refuse_other_tracking,
)
from nnstudy.engines.options import LaunchOptions
from nnstudy.engines.preparation import Preparation
from nnstudy.engines.storing import track_stage
from nnstudy.search import requests
from nnstudy.search.confirmation.members import (
    Selection,
    best_configurations,
    choose_source,
    confirmation_plan,
    enqueue,
    keep_selection,
    selection_of,
)
from nnstudy.search.endings import facts_of
from nnstudy.search.events import Emit, Event
from nnstudy.search.locks import study_lock
from nnstudy.search.plan import Plan
from nnstudy.search.storage import open_storage, storage_url
from nnstudy.search.stored import (
    StoredStage,
    is_begun,
    load_stage,
    refuse_differences,
    require_stages,
)
from nnstudy.study import Study


class Retraining:
    """The best configurations of a study, to be trained again in a stage of their own.

    All is looked at and found possible; nothing has been written.

    Args:
        name: Name of the study, as it is stored.
        top: How many configurations.
        seeds: How often each is trained.
        stage: Whose; None: of the last stage that has complete trials.
        study: The study, or where it is here; None: as it was named at its launch.
        given: Where things are, and what runs the workers.
        emit: Hears what happens.

    Attributes:
        prepared: The study and its surroundings.
        source: Plan of the stage that the configurations come from.
        configurations: The best ones.

    Raises:
        UserError: If there is nothing to train again, or anything else is wrong that the user can
            put right.
    """

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
        self._stored = require_stages(storage, name)
        source = choose_source(self._stored, stage)
        self.configurations = best_configurations(source, top)
        self._seeds = seeds
        refuse_missing_tracking(given)
        if isinstance(study, Study):
            self.prepared = Preparation(study, None, given, emit)
        else:
            loaded = load_here(name, study or self._stored[0].plan.reference)
            self.prepared = Preparation(loaded.study, loaded, given, emit)
        refuse_other_stages(self.prepared, self._stored)
        refuse_other_tracking(self.prepared, self._stored)
        plans = {plan.stage: plan for plan in self.prepared.plans}
        self.source = plans[source.plan.stage]
        self.prepared.epoch_seconds = _epoch_seconds(source, self.configurations)
        if len(self.configurations) < top:
            self._say(
                f"{source.plan.name} has {len(self.configurations)} different complete"
                f" configurations, not {top}: these are confirmed"
            )

    def store(self, *, compared: bool = True) -> tuple[Plan, optuna.Study]:
        """Makes the stage's study and run where they are missing, and the trainings.

        Args:
            compared: Whether the configurations are to be compared, as a confirmation that takes
                the place of an earlier one. If not, that one stays as it is: the stage has only
                trainings more than it asked for.
        """
        prepared = self.prepared
        plan = confirmation_plan(self._stored, self.source)
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
            seeds = self._all_seeds(plan, made) if compared else self._seeds
            # Enqueued before the plan says how many they are: a worker that found more to do
            # than there is enqueued would sample.
            plan = plan.with_trials(enqueue(made, self.configurations, seeds))
            plan.save(made)
            if compared:
                keep_selection(made, Selection(self.source.stage, self.configurations, seeds))
        prepared.plans = [plan]
        return plan, made

    def announce_cost(self, plan: Plan, what: str) -> None:
        """Tells what is trained, and what the trainings still to be run will cost at most."""
        self._say(what)
        self.prepared.announce_cost()

    def _all_seeds(self, plan: Plan, study: optuna.Study) -> int:
        before = selection_of(study)
        seeds = max(self._seeds, before.seeds if before else 0)
        if seeds > self._seeds:
            self._say(
                f"{plan.name} has been given {seeds} seeds before, all of which count: leaving"
                " scores out that are known would be choosing among results"
            )
        return seeds

    def _say(self, text: str) -> None:
        self.prepared.emit(Event("message", {"text": text}))


def _epoch_seconds(stage: StoredStage, configurations: Sequence[Any]) -> float | None:
    """Returns what an epoch took in the search, on the average of the configurations."""
    trials = stage.optuna_study.get_trials(deepcopy=False)
    facts = [facts_of(trials[chosen.trial]) for chosen in configurations]
    epochs = sum(fact.get("epochs", 0) for fact in facts)
    return sum(fact.get("seconds", 0.0) for fact in facts) / epochs if epochs else None
