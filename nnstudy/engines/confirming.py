"""Confirming a search, top to bottom: choose, store, train again, compare, look at the test part."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from nnstudy.engines.options import LaunchOptions
from nnstudy.engines.preparation import Preparation
from nnstudy.engines.ray_cluster import RayCluster, connected_if_asked
from nnstudy.engines.retraining import Retraining
from nnstudy.engines.running import run_stages
from nnstudy.errors import UserError
from nnstudy.search.confirmation.look import look_once
from nnstudy.search.confirmation.outcome import Confirmation, confirmation_of, keep_outcome
from nnstudy.search.confirmation.taken_look import TakenLook, taken_look
from nnstudy.search.confirmation.words import conclusion
from nnstudy.search.events import Emit, Event, ignore
from nnstudy.search.interruption import Interruption
from nnstudy.search.keeping import fetch_checkpoint
from nnstudy.search.patience import database_errors_explained
from nnstudy.search.plan import Plan
from nnstudy.search.results import stage_story
from nnstudy.search.stored import (
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

    with database_errors_explained(), connected_if_asked(given) as (given, cluster):
        asked = Retraining(name, top, seeds, stage, study, given, emit)
        return _confirm(asked, interruption, cluster, test=test)


def _confirm(
    asked: Retraining, interruption: Interruption, cluster: RayCluster | None, *, test: bool
) -> ConfirmResult:
    prepared = asked.prepared
    plan, study = asked.store()
    found = _outcome(plan, study)
    seeds, configurations = found.selection.seeds, len(asked.configurations)
    asked.announce_cost(
        plan,
        f"confirming {configurations} configurations of stage {asked.source.stage!r} with {seeds}"
        f" seeds each: {configurations * seeds} trainings of up to {plan.epochs:g} epochs",
    )
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
