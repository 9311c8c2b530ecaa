"""A race of samplers: each searches from several seeds, with equal budgets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage

from nnstudy.engines.arms import choose_field, describe_grid, racing_study
from nnstudy.engines.launching import carry_out
from nnstudy.engines.options import LaunchOptions
from nnstudy.engines.preparation import Preparation
from nnstudy.errors import UserError
from nnstudy.report.race import RaceResult, race_result
from nnstudy.report.race_picture import race_figure
from nnstudy.search.events import Emit, Event, ignore
from nnstudy.search.interruption import Interruption
from nnstudy.search.patience import database_errors_explained
from nnstudy.search.storage import NothingStored, open_storage, storage_url
from nnstudy.search.stored import StoredStage, stored_stages
from nnstudy.secret_urls import mask
from nnstudy.study import Study
from nnstudy.study.loading import load_study
from nnstudy.study.names import validate_name
from nnstudy.tracking import TrackingAway

_RACES = Path("mlruns") / "races"


@dataclass(frozen=True)
class Race:
    """What a race ended with.

    Attributes:
        name: Name of the race, a stored study with a stage for each search.
        complete: Whether every search has come to its end.
        timed_out: Whether it ended because its time was over.
        searches: Number of searches.
        finished: Finished trials of all searches.
        trials: Trials that all searches are to end with.
        result: How the samplers compare; None until all searches are complete.
        output: Directory with ``race.json`` and ``race.png``, if there is a result.
        storage: URL of Optuna's storage, its password masked.
        tracking: URI of MLflow, its password masked.
    """

    name: str
    complete: bool
    timed_out: bool
    searches: int
    finished: int
    trials: int
    result: RaceResult | None
    output: Path | None
    storage: str
    tracking: str


def race(
    study: Study | str,
    *,
    samplers: Sequence[str] | None = None,
    seeds: int | None = None,
    sampler_options: Mapping[str, Mapping[str, Any]] | None = None,
    output: Path | None = None,
    emit: Emit = ignore,
    interruption: Interruption | None = None,
    **options: Any,
) -> Race:
    """Lets samplers race on a study, or goes on with a race where it is stored.

    Each search is a stage of one stored study, and no two draw the same random numbers. One
    worker works on each, so that a sampler knows all earlier trials before it draws.

    Args:
        study: A study, or what names one: a name, or the path of a study file.
        samplers: Names of samplers; default: those stored, else random and tpe.
        seeds: Searches of each sampler; default: as stored, else 5.
        sampler_options: Options by sampler.
        output: Where to write ``race.json`` and ``race.png``; default: ``mlruns/races/NAME``.
        emit: Hears what happens, one ``Event`` each, of all searches in turn.
        interruption: Asks for an early end.
        options: Fields of ``LaunchOptions``: ``name`` (default: the study's, with ``-race``),
            ``trials`` (of each search), ``workers`` (searches at once), ``pruner``...

    Raises:
        UserError: If anything is wrong that the user can put right; before any trial runs,
            where that can be known before.
    """
    given = LaunchOptions(**options)
    if given.engine != "local" or given.sampler is not None or given.max_epochs_total is not None:
        raise UserError("a race has local workers, samplers of its own and equal numbers of trials")
    loaded = load_study(study) if isinstance(study, str) else None
    declared = loaded.study if loaded else study
    assert isinstance(declared, Study)
    name = validate_name(given.name or f"{declared.name}-race")
    interruption = interruption or Interruption()
    with database_errors_explained():
        stored = _stored(given.storage, name)
        field = choose_field(declared, stored, samplers, seeds, sampler_options or {})
        racing = racing_study(declared, name, field, stored, given)
        # What the stages say of these is all that there is to say.
        rest = replace(given, name=name, trials=None, pruner=None, pruner_options={})
        prepared = Preparation(racing, loaded, rest, emit, race=True)
        directory = _writable(output or _RACES / name)
        _explain(prepared, declared, emit)
        stages, progress = carry_out(prepared, interruption, None)
        complete = progress.is_done()
        result = None
        if complete:
            result = race_result(prepared.storage, name, field.samplers, field.seeds)
            _keep(result, directory, prepared, stages[0][0].experiment_id)
        trials = [trial for _, found in stages for trial in found.get_trials(deepcopy=False)]
        return Race(
            name,
            complete,
            interruption.timed_out,
            searches=len(stages),
            finished=sum(trial.state.is_finished() for trial in trials),
            trials=sum(plan.trials for plan, _ in stages),
            result=result,
            output=directory if result else None,
            storage=mask(prepared.storage_url),
            tracking=prepared.tracker.masked_uri,
        )


def _stored(url: str | None, name: str) -> list[StoredStage]:
    """Returns the searches that are stored; makes no storage."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage: RDBStorage = open_storage(storage_url(url), create=False)
    except NothingStored:
        return []
    return [stage for stage in stored_stages(storage, name) if stage.plan.race]


def _writable(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the result cannot be written to {directory}: {error.strerror}; say where with --output"
        ) from error
    return directory


def _explain(prepared: Preparation, study: Study, emit: Emit) -> None:
    """Says what the searches are given, and what they are not."""
    plan, stages = prepared.plans[0], study.stages
    trials = max(plan.trials for plan in prepared.plans)
    texts = [
        f"each search: {trials} trials of up to {plan.epochs:g} epochs, pruner {plan.pruner['name']}"
    ]
    if len(stages) > 1:
        texts.append(f"the race is run as stage {stages[-1].name!r}, the last of {len(stages)}")
    if study.start_points:
        texts.append("the study's start is left out: it is no sampler's merit")
    if not isinstance(stages[-1].sampler, str):
        texts.append("the study's own sampler object does not race, only samplers with a name do")
    grid = next((plan for plan in prepared.plans if plan.sampler["name"] == "grid"), None)
    if grid is not None:
        texts.append(describe_grid(grid, trials))
    for text in texts:
        emit(Event("message", {"text": text}))


def _keep(result: RaceResult, directory: Path, prepared: Preparation, experiment_id: str) -> None:
    """Writes data and picture, and logs both to MLflow."""
    (directory / "race.json").write_text(json.dumps(result.to_dict(), indent=2) + "\n")
    race_figure(result).savefig(directory / "race.png", dpi=120)
    try:
        run = prepared.tracker.race_run(experiment_id, result.name, note=result.to_markdown())
    except TrackingAway as error:
        text = f"{error}. It lacks the race's result; the same command again tells it"
        prepared.emit(Event("warning", {"text": text}))
        return
    for file in ("race.json", "race.png"):
        run.log_artifact(directory / file)
    run.finish()
