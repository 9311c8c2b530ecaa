"""Joining a stored study as one more worker, from any shell or machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from nnstudy.engines.options import LaunchOptions
from nnstudy.engines.preparation import Preparation
from nnstudy.engines.work import work_on
from nnstudy.errors import UserError
from nnstudy.search.events import Emit, Event, ignore
from nnstudy.search.interruption import Interruption
from nnstudy.search.plan import Plan
from nnstudy.search.storage import open_storage, storage_url
from nnstudy.search.stored import StoredStage, require_stages
from nnstudy.study.loading import LoadedStudy, load_study
from nnstudy.tracking import Tracker
from nnstudy.tracking.location import Location


@dataclass(frozen=True)
class JoinResult:
    """What a worker ended with.

    Attributes:
        study: Name of the study.
        complete: Whether the budget of every stage is spent.
        timed_out: Whether the worker ended because its time was over.
        ended: Trials that this worker brought to their end.
    """

    study: str
    complete: bool
    timed_out: bool
    ended: int


def join(
    name: str,
    *,
    study: str | None = None,
    emit: Emit = ignore,
    interruption: Interruption | None = None,
    **options: Any,
) -> JoinResult:
    """Works on a stored study, beside whoever else does, until it is done.

    Args:
        name: Name of the study, as it is stored.
        study: Where the study is here: a name, or the path of a study file; default: as it was
            named at its launch.
        emit: Hears what happens, one ``Event`` each.
        interruption: Asks for an early end.
        options: Fields of ``LaunchOptions`` that say where things are here: ``storage``,
            ``tracking_uri``, ``artifacts``, ``data_directory``, ``timeout``, ``settings``.

    Raises:
        UserError: If the study is not stored, differs from the one here, or something that it
            needs is missing here.
    """
    given = LaunchOptions(name=name, workers=1, preflight=False, **options)
    stored = require_stages(open_storage(storage_url(given.storage), create=False), name)
    refuse_missing_tracking(given)
    loaded = load_here(name, study or stored[0].plan.reference)
    prepared = Preparation(loaded.study, loaded, given, emit)
    refuse_other_stages(prepared, stored)
    refuse_other_tracking(prepared, stored)
    ended = 0

    def hear(event: Event) -> None:
        nonlocal ended
        ended += event.kind == "end"
        emit(event)

    interruption = interruption or Interruption()
    with interruption.after(given.timeout):
        # Also on a confirmation, which the study file knows nothing of.
        orders = replace(prepared.orders(), stages=None)
        complete = work_on(orders, hear, interruption, study=prepared.study, data=prepared.data)
    return JoinResult(name, complete, interruption.timed_out, ended)


def load_here(name: str, reference: str) -> LoadedStudy:
    """Loads a stored study from where its file is here.

    Raises:
        UserError: If it is not there.
    """
    try:
        return load_study(reference)
    except UserError as error:
        raise UserError(
            f"{error}\nA worker needs the study {name!r} itself, not only its database: say"
            " where its file is here with --study path/to/study.py"
        ) from error


def refuse_other_stages(prepared: Preparation, stored: list[StoredStage]) -> None:
    """Raises UserError where the study here has other stages than the stored one."""
    here = list(dict.fromkeys(plan.declared for plan in prepared.plans))
    searched = (stage.plan for stage in stored if stage.plan.kind == "search")
    there = list(dict.fromkeys(plan.declared for plan in searched))
    if here != there:
        raise UserError(
            f"the study {prepared.study.name!r} here has the stages {', '.join(here)}, the stored"
            f" one has {', '.join(there)}: it is not the same study file"
        )


def refuse_missing_tracking(options: LaunchOptions) -> None:
    """Raises UserError where MLflow's database, in which a stored study has runs, is missing."""
    location = Location.resolve(options.tracking_uri, options.artifacts)
    if location.sqlite_file and not location.sqlite_file.exists():  # and it is not to be made
        raise _other_tracking(location.masked_uri, options.name)


def refuse_other_tracking(prepared: Preparation, stored: list[StoredStage]) -> None:
    """Raises UserError where MLflow is not the one that a stored study has its runs in."""
    refuse_other_runs(prepared.tracker, stored[0].plan)


def refuse_other_runs(tracker: Tracker, plan: Plan) -> None:
    """Raises UserError where MLflow is not the one that a stored stage has its run in."""
    if not tracker.has_run(plan.run_id):
        raise _other_tracking(tracker.masked_uri, plan.study)


def _other_tracking(masked_uri: str, study: str | None) -> UserError:
    return UserError(
        f"MLflow at {masked_uri} has no runs of the study {study!r}: give the --tracking-uri"
        " that it was launched with"
    )
