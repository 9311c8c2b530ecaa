"""Looking at everything a launch needs, before anything is touched."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import RDBStorage

from nnstudy.data import Data, Subset, load
from nnstudy.engines.options import LaunchOptions
from nnstudy.errors import UserError
from nnstudy.preflight import rehearse
from nnstudy.search.events import Emit, Event
from nnstudy.search.grid import grid_size
from nnstudy.search.plan import Plan
from nnstudy.search.pruners import PrunerSpec, describe_pruner
from nnstudy.search.samplers import SamplerSpec, describe_sampler
from nnstudy.search.space import Space, probe
from nnstudy.search.storage import (
    NothingStored,
    open_storage,
    same_database,
    storage_url,
)
from nnstudy.search.stored import (
    is_begun,
    load_stage,
    refuse_differences,
    search_parts,
    stored_stages,
    validations,
)
from nnstudy.secret_urls import mask
from nnstudy.study import Stage, Study
from nnstudy.study.loading import LoadedStudy
from nnstudy.study.locality import is_local
from nnstudy.study.sources import Sources, collect_sources
from nnstudy.tracking import Tracker
from nnstudy.tracking.location import Location
from nnstudy.training.devices import resolve_device


class Preparation:
    """Everything a launch needs, looked at and found good.

    Args:
        study: The study.
        loaded: Where it came from; None for a study made in a notebook.
        options: How to launch it.
        emit: Hears what is found.

    Attributes:
        study: The study, with what the options override.
        workers: Number of workers.
        storage_url: URL of Optuna's storage.
        storage: Optuna's storage.
        tracker: MLflow.
        data: The data.
        space: What the recipe asks for.
        sources: The study file and what it imports, or None.
        plans: The plan of each stage, as stored where it is stored.

    Raises:
        UserError: If anything is wrong that the user can put right.
    """

    def __init__(
        self, study: Study, loaded: LoadedStudy | None, options: LaunchOptions, emit: Emit
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.storage_url = storage_url(options.storage)
        stored = self._open_stored()
        options = _with_remembered(options, study, stored)
        self.study = _with_overrides(study, options)
        self.loaded = loaded
        self.options = options
        self.emit = emit
        self._refuse_numbers()
        self.workers = options.workers or _default_workers(options.settings.device)
        self._refuse_generator()
        self._refuse_unpicklable()
        self._refuse_one_database()
        self.data: Data = load(
            self.study.data,
            self.study.split,
            options.subset,
            directory=options.data_directory,
            download=options.download,
        )
        self.space = self._probe()
        self.sources: Sources | None = collect_sources(loaded) if loaded else None
        self.plans = [self._plan(i, stage, stored) for i, stage in enumerate(self.study.stages)]
        epoch_seconds = self._rehearse()
        # Only now, so that a study that cannot be launched leaves nothing behind.
        self.tracker = Tracker(options.tracking_uri, options.artifacts)
        self.storage: RDBStorage = stored or open_storage(self.storage_url)
        self._announce_cost(epoch_seconds)

    def _refuse_numbers(self) -> None:
        if self.options.workers is not None and self.options.workers < 1:
            raise UserError(f"there must be at least one worker, got {self.options.workers}")
        if self.study.seed < 0:
            raise UserError(f"the seed must not be negative, got {self.study.seed}")

    def _refuse_generator(self) -> None:
        if inspect.isgeneratorfunction(self.study.recipe):
            raise UserError(
                f"the recipe of study {self.study.name!r} is itself a generator, so its"
                " parameters are not known before an epoch is trained. Ask the trial for"
                " values first and return the generator: def recipe(trial, data): lr ="
                " trial.suggest_float(...); return train(lr, data)"
            )

    def _refuse_unpicklable(self) -> None:
        if self.workers > 1 and self.loaded is None:
            import cloudpickle

            try:
                cloudpickle.dumps(self.study)
            except Exception as error:
                raise UserError(
                    f"study {self.study.name!r} cannot be sent to {self.workers} workers"
                    f" ({error}); put it in a file, or use workers=1"
                ) from error

    def _refuse_one_database(self) -> None:
        uri = Location.resolve(self.options.tracking_uri, self.options.artifacts).uri
        if same_database(self.storage_url, uri):
            raise UserError(
                f"Optuna and MLflow are both pointed at {mask(uri)}; each needs a database of"
                " its own, since both own a table alembic_version. Give MLflow another file,"
                " or another Postgres database"
            )

    def _open_stored(self) -> RDBStorage | None:
        """Opens the storage where there is one; makes none yet."""
        try:
            return open_storage(self.storage_url, create=False)
        except NothingStored:
            return None

    def _probe(self) -> Space:
        def ask(trial: optuna.Trial) -> object:
            return self.study.recipe(trial, self.data)

        with torch.device("meta"):
            space = probe(ask, starts=self.study.start_points)
        if space.failures:
            # Some recipes compute with weights while they build, which "meta" has none of.
            space = probe(ask, starts=self.study.start_points)
        return space

    def _plan(self, position: int, stage: Stage, storage: RDBStorage | None) -> Plan:
        """Returns the plan of a stage, as stored where it is stored."""
        study, options = self.study, self.options
        metric, direction = study.objective(self.data.task)
        reference = options.name or study.name
        plan = Plan(
            study=study.name,
            stage=stage.name,
            position=position,
            reference=self.loaded.reference if self.loaded else reference,
            trials=stage.trials,
            epochs=stage.epochs,
            sampler=describe_sampler(_spec(SamplerSpec, stage.sampler, stage.sampler_options)),
            pruner=describe_pruner(_spec(PrunerSpec, stage.pruner, stage.pruner_options)),
            seed=study.seed,
            metric=metric,
            direction=direction,
            validate_every=study.validate_every,
            split=asdict(self.data.split),
            subset=_json_ready(self.data.subset),
            data={key: self.data.describe()[key] for key in ("name", "digest", "examples")},
            space=self.space.to_dict(),
            sources=self.sources.per_file if self.sources else {},
            deterministic=options.deterministic,
            precision=options.precision or "float32",
            options=options.to_remember(),
        )
        found = load_stage(storage, plan.name) if storage else None
        if found is not None and is_begun(found):
            plan = self._merge(Plan.of(found), plan)
        points = plan.sampler.get("options", {}).get("points")
        if plan.sampler.get("name") == "grid":
            size = grid_size(self.space, points)
            self._say(f"the grid of stage {stage.name!r} has {size} points")
            starts = len(self.study.start_points) if position == 0 else 0
            plan = plan.with_trials(min(plan.trials, size + starts))
        # A wrong option of the sampler or pruner shows now, not within the first trial.
        search_parts(plan, stage, validations(plan, len(self.data.train)))
        return plan

    def _merge(self, stored: Plan, now: Plan) -> Plan:
        """Returns the stored plan with what this launch may change of it."""
        refuse_differences(self.study, stored, now)
        if self.sources and stored.sources:
            for change in self.sources.differences(stored.sources):
                self._warn(f"since {stored.name!r} was launched first: {change}")
        options = self.options
        return replace(
            stored,
            trials=now.trials if options.trials else stored.trials,
            sampler=now.sampler
            if options.sampler
            else _added(stored.sampler, options.sampler_options),
            pruner=now.pruner if options.pruner else _added(stored.pruner, options.pruner_options),
            sources=now.sources,
            reference=now.reference,
        )

    def _rehearse(self) -> float | None:
        if not self.options.rehearse:
            return None
        first = self.plans[0]
        before = torch.get_num_threads()
        torch.set_num_threads(self.options.settings.threads)
        try:
            rehearsal = rehearse(
                self.study,
                self.data,
                first.conditions(self.options.settings.device),
                starts=self.study.start_points,
                is_own=self._is_own,
            )
        finally:
            torch.set_num_threads(before)
        for failure in rehearsal.failures:
            self._warn(f"a sampled recipe cannot be trained; such trials will fail: {failure}")
        return rehearsal.epoch_seconds

    def _is_own(self, file: Path) -> bool:
        if self.loaded is None:
            return is_local(file, (Path.cwd(),))
        return file == self.loaded.path or is_local(file, self.loaded.roots)

    def _announce_cost(self, epoch_seconds: float | None) -> None:
        remaining = [max(0, plan.trials - self._finished(plan)) for plan in self.plans]
        epochs = sum(n * plan.epochs for n, plan in zip(remaining, self.plans, strict=True))
        self.emit(
            Event(
                "cost",
                {
                    "study": self.study.name,
                    "trials": sum(remaining),
                    "epochs": epochs,
                    "epoch_seconds": epoch_seconds,
                    "seconds": epochs * epoch_seconds / self.workers if epoch_seconds else None,
                    "workers": self.workers,
                    "storage": mask(self.storage_url),
                    "tracking": self.tracker.masked_uri,
                },
            )
        )

    def _finished(self, plan: Plan) -> int:
        found = load_stage(self.storage, plan.name)
        trials = found.get_trials(deepcopy=False) if found else []
        return sum(trial.state.is_finished() for trial in trials)

    def _say(self, text: str) -> None:
        self.emit(Event("message", {"text": text}))

    def _warn(self, text: str) -> None:
        self.emit(Event("warning", {"text": text}))


def _with_remembered(
    options: LaunchOptions, study: Study, storage: RDBStorage | None
) -> LaunchOptions:
    """Completes the options by those the study was launched with first."""
    found = stored_stages(storage, options.name or study.name) if storage else []
    return options.with_remembered(found[0].plan.options) if found else options


def _with_overrides(study: Study, options: LaunchOptions) -> Study:
    stages = [
        replace(
            stage,
            epochs=stage.epochs if options.epochs is None else options.epochs,
            sampler=options.sampler or stage.sampler,
            sampler_options=_override(
                stage.sampler_options, options.sampler_options, renamed=options.sampler is not None
            ),
            pruner=options.pruner or stage.pruner,
            pruner_options=_override(
                stage.pruner_options, options.pruner_options, renamed=options.pruner is not None
            ),
        )
        for stage in study.stages
    ]
    split = study.split
    if options.selection is not None:
        split = replace(split, selection=options.selection)
    study = replace(
        study,
        name=options.name or study.name,
        stages=stages,
        split=split,
        seed=study.seed if options.seed is None else options.seed,
        validate_every=(
            study.validate_every if options.validate_every is None else options.validate_every
        ),
    )
    return study.with_trials(options.trials) if options.trials is not None else study


def _override(own: Mapping[str, Any], given: Mapping[str, Any], *, renamed: bool) -> dict[str, Any]:
    """Options of another sampler do not fit; options of the same are added."""
    return dict(given) if renamed else {**own, **given}


def _added(stored: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a stored sampler or pruner with options added, which are checked when it is made."""
    return {**stored, "options": {**stored.get("options", {}), **given}} if given else stored


def _spec(kind: Any, chosen: Any, options: Mapping[str, Any]) -> Any:
    return kind(chosen, dict(options)) if isinstance(chosen, str) else chosen


def _json_ready(subset: Subset) -> dict[str, Any]:
    fields = asdict(subset)
    return {**fields, "classes": list(subset.classes) if subset.classes else None}


def _default_workers(device: str) -> int:
    """One worker for each device of CUDA (or the one named), or for each core we may use."""
    chosen = resolve_device(device)
    if chosen.type == "cuda":
        return torch.cuda.device_count() if chosen.index is None else 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
