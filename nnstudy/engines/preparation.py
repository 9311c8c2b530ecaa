"""Looking at everything a launch needs, before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from nnstudy.data import Data, Folds, Subset
from nnstudy.engines.arms import lay_out
from nnstudy.engines.options import LaunchOptions
from nnstudy.engines.orders import Orders
from nnstudy.engines.subject import Subject, default_workers
from nnstudy.errors import UserError
from nnstudy.preflight import Report
from nnstudy.search.budget import epochs_trained
from nnstudy.search.events import Emit, Event
from nnstudy.search.extension import most_more_trials, refuse_taken_names, with_wider
from nnstudy.search.grid import grid_size
from nnstudy.search.plan import Plan
from nnstudy.search.pruners import PrunerSpec, describe_pruner
from nnstudy.search.ranges.holding import as_asked, held, provisional
from nnstudy.search.samplers import SamplerSpec, describe_sampler
from nnstudy.search.space import Space
from nnstudy.search.storage import (
    NothingStored,
    open_storage,
    same_database,
    storage_url,
)
from nnstudy.search.stored import (
    StoredStage,
    is_begun,
    load_stage,
    refuse_differences,
    refuse_race,
    search_parts,
    stored_stages,
    validations,
)
from nnstudy.search.timing.arms import check_arms, reference_for
from nnstudy.secret_urls import mask
from nnstudy.study import Stage, Study
from nnstudy.study.loading import LoadedStudy
from nnstudy.study.sources import Sources
from nnstudy.tracking import Tracker
from nnstudy.tracking.location import Location


class Preparation:
    """Everything a launch needs, looked at and found good.

    Args:
        study: The study.
        loaded: Where it came from; None for a study made in a notebook.
        options: How to launch it.
        emit: Hears what is found.
        race: Whether the stages are searches that race, and not passes of one search.

    Attributes:
        study: The study, with what the options override.
        workers: Number of workers.
        storage_url: URL of Optuna's storage.
        storage: Optuna's storage.
        tracker: MLflow.
        data: The data.
        space: What the recipe asks for.
        sources: The study file and what it imports, or None.
        race: Whether the stages race.
        plans: The plan of each stage, as stored where it is stored.
        epoch_seconds: What an epoch takes, where that is known.
        report: What pre-flight found, where it had to look.

    Raises:
        UserError: If anything is wrong that the user can put right.
    """

    def __init__(
        self,
        study: Study,
        loaded: LoadedStudy | None,
        options: LaunchOptions,
        emit: Emit,
        *,
        race: bool = False,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.storage_url = storage_url(options.storage)
        stored = self._open_stored()
        stages = stored_stages(stored, options.name or study.name) if stored else []
        self.race = race
        _refuse_other_kind(stages, race=race)
        options = _with_remembered(options, stages)
        self.subject = Subject(study, loaded, options, emit)
        self.study = self.subject.study
        self.loaded = loaded
        self.options = options
        self.emit = emit
        self._refuse_numbers()
        self.workers = options.workers or default_workers(options.settings.device)
        self._refuse_unpicklable()
        self._refuse_one_database()
        self.data: Data = self.subject.data
        self.space: Space = self.subject.space
        self.sources: Sources | None = self.subject.sources
        self.plans = [
            plan
            for i, stage in enumerate(self.study.stages)
            for plan in with_wider(self._plan(i, stage, stored), stages)
        ]
        if options.extend_borders:
            refuse_taken_names(self.plans)
        self._refuse_small_budget()
        self.epoch_seconds: float | None = None
        self.report: Report | None = None
        if options.preflight:
            self._look(stages)
        # Only now, so that a study that cannot be launched leaves nothing behind.
        self.tracker = Tracker(options.tracking_uri, options.artifacts)
        self.storage: RDBStorage = stored or open_storage(self.storage_url)

    def _refuse_numbers(self) -> None:
        if self.options.workers is not None and self.options.workers < 1:
            raise UserError(f"there must be at least one worker, got {self.options.workers}")
        for name in ("timeout", "max_epochs_total"):
            given = getattr(self.options, name)
            if given is not None and not given > 0:
                option = name.replace("_", "-")
                raise UserError(f"--{option} must be above 0, got {given:g}")
        if self.study.seed < 0:
            raise UserError(f"the seed must not be negative, got {self.study.seed}")

    def _refuse_small_budget(self) -> None:
        total = self.options.max_epochs_total
        for plan in self.plans:
            if total is not None and plan.epochs_reserved > total:
                raise UserError(
                    f"--max-epochs-total {total:g} has no room for one trial of stage"
                    f" {plan.stage!r}, which may train {plan.epochs * plan.repeats:g} epochs. Give"
                    " more, or fewer --epochs"
                )

    def _refuse_unpicklable(self) -> None:
        if self.loaded is None and (self.workers > 1 or self.options.engine == "ray"):
            import cloudpickle

            try:
                cloudpickle.dumps(self.study)
            except Exception as error:
                raise UserError(
                    f"study {self.study.name!r} cannot be sent to {self.workers} workers"
                    f" ({error}); put it in a file, or use workers=1 of the local engine"
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
            data=self.data.describe(),
            space=self.space.to_dict(),
            sources=self.sources.per_file if self.sources else {},
            deterministic=options.deterministic,
            precision=options.precision or "float32",
            max_epochs_total=options.max_epochs_total,
            flat_trials=stage.flat_trials,
            limits={name: list(limit) for name, limit in study.limits.items()},
            data_share=stage.data_share,
            folds=study.folds,
            seeds=stage.seeds,
            narrow=stage.narrow,
            carry=stage.carry,
            only=list(stage.only),
            hold=dict(stage.hold),
            scaled=list(stage.scaled),
            around=stage.around,
            is_open=False,
            options=options.to_remember(),
            race=self.race,
            extend_borders=options.extend_borders,
        )
        if self.race and plan.sampler.get("name") == "grid":
            plan = lay_out(plan)
        self._refuse_unknown(stage, position)
        if plan.scaled:
            plan = _for_arms(plan, check_arms(self.space, plan.only[0], plan.scaled))
        found = load_stage(storage, plan.name) if storage else None
        if found is not None and is_begun(found):
            plan = self._merge(Plan.of(found), plan)
        shaped = plan
        if not plan.is_open:
            ranges = provisional(self.space, stage.only, stage.hold)
            shaped = replace(plan, ranges=ranges.to_list())
        if plan.sampler.get("name") == "grid":
            size = grid_size(shaped.searched_space(), plan.sampler["options"].get("points"))
            if not self.race:
                self._say(f"the grid of stage {stage.name!r} has {size} points")
            starts = len(self.study.start_points) if position == 0 else 0
            plan = plan.with_trials(min(plan.trials, size + starts))
        if plan.folds > 1:
            Folds(self.data, plan.folds)  # refuses more than there are examples
        # A wrong option of the sampler or pruner shows now, not within the first trial.
        examples = len(self.data.with_share(stage.data_share).train)
        search_parts(shaped, stage, validations(plan, examples))
        return plan

    def _refuse_unknown(self, stage: Stage, position: int) -> None:
        """Raises UserError if a stage names what the recipe does not ask for."""
        for name in (*stage.only, *stage.hold, *stage.scaled):
            try:
                self.space.named(name)
            except UserError as error:
                raise UserError(f"Stage {stage.name!r}: {error}") from None
        if position == 0:
            start = self.study.start_points[0] if self.study.start_points else {}
            held(as_asked(self.space), stage.only, stage.hold, best={}, start=start)
            if stage.scaled:
                reference_for(stage.only[0], stage.scaled, {**start, **stage.hold})

    def _merge(self, stored: Plan, now: Plan) -> Plan:
        """Returns the stored plan with what this launch may change of it."""
        refuse_differences(self.study, stored, now)
        if self.sources and stored.sources:
            for change in self.sources.differences(stored.sources):
                self._warn(f"since {stored.name!r} was launched first: {change}")
        options = self.options
        stored = replace(
            stored,
            max_epochs_total=options.max_epochs_total,
            limits=now.limits,
            sources=now.sources,
            reference=now.reference,
        )
        if stored.scaled:
            return stored  # which follows from the sizes alone
        return replace(
            stored,
            trials=now.trials if options.trials else stored.trials,
            flat_trials=options.flat_trials or stored.flat_trials,
            extend_borders=options.extend_borders,
            sampler=now.sampler
            if options.sampler
            else _added(stored.sampler, options.sampler_options),
            pruner=now.pruner if options.pruner else _added(stored.pruner, options.pruner_options),
        )

    def _look(self, stages: Sequence[StoredStage]) -> None:
        """Rehearses, and checks the study unless it was checked as it is now.

        Raises:
            UserError: If a check fails.
        """
        conditions = self.plans[0].conditions(self.options.settings.device)
        rehearsal = self.subject.rehearse(conditions)
        self.epoch_seconds = rehearsal.epoch_seconds
        if stages and self.sources and stages[0].plan.sources == self.sources.per_file:
            return
        self.report = self.subject.recall(conditions)
        if self.report is not None:
            self._say(f"pre-flight: nothing has changed since {self.report.made}")
            return
        self.report = self.subject.check(conditions, rehearsal, self.workers)
        if not self.report.passed:
            raise UserError(
                f"Study {self.study.name!r} does not pass its pre-flight checks:\n"
                + "\n".join(map(str, self.report.of("failed")))
                + "\nnnstudy check shows all of them; --no-preflight (preflight=False) launches it"
                " even so"
            )
        for result in self.report.of("warned"):
            self._warn(f"pre-flight: {result}")
        self._say(f"pre-flight: {self.report.counted()}")

    def orders(self) -> Orders:
        """Returns what a worker is told."""
        return Orders(
            reference=self.plans[0].reference if self.loaded else None,
            name=self.study.name,
            storage=self.storage_url,
            tracking_uri=self.tracker.uri,
            artifacts=self.tracker.location.artifacts,
            data_directory=self.options.data_directory,
            settings=self.options.settings,
            workers=self.workers,
            stages=list(dict.fromkeys(plan.declared for plan in self.plans)),
        )

    def announce_cost(self) -> None:
        """Tells what all trials that are still to be run will cost at most."""
        epoch_seconds = self.epoch_seconds
        for text in dict.fromkeys(map(_price, self.plans)):
            if text:
                self._say(text)
        finished = [self._finished(plan) for plan in self.plans]
        remaining = [
            max(0, plan.trials - len(done)) for plan, done in zip(self.plans, finished, strict=True)
        ]
        # In epochs of all the data, which is what one was measured on.
        epochs = sum(
            n * plan.epochs * plan.repeats * plan.data_share
            for n, plan in zip(remaining, self.plans, strict=True)
        )
        if self.options.max_epochs_total is not None:
            spent = sum(map(epochs_trained, finished))
            epochs = min(epochs, max(0.0, self.options.max_epochs_total - spent))
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
        self._announce_extension()

    def _announce_extension(self) -> None:
        """Tells what may come on top where good values crowd the edge of a range."""
        more, total = most_more_trials(self.plans), self.options.max_epochs_total
        if more:
            text = f"where good values crowd the edge of a range, up to {more} trials come on top"
            self._say(text if total is None else f"{text}, within the {total:g} epochs")

    def _finished(self, plan: Plan) -> list[FrozenTrial]:
        found = load_stage(self.storage, plan.name)
        trials = found.get_trials(deepcopy=False) if found else []
        return [trial for trial in trials if trial.state.is_finished()]

    def _say(self, text: str) -> None:
        self.emit(Event("message", {"text": text}))

    def _warn(self, text: str) -> None:
        self.emit(Event("warning", {"text": text}))


def _refuse_other_kind(stages: Sequence[StoredStage], *, race: bool) -> None:
    """Raises UserError where what is stored races and this does not, or the other way round."""
    if not race:
        refuse_race(stages)
    elif stages and not stages[0].plan.race:
        raise UserError(
            f"the stored study {stages[0].plan.study!r} is no race; give the race another --name"
        )


def _price(plan: Plan) -> str:
    """Returns what trainings that are repeated cost, in words; empty where none are."""
    if plan.folds > 1:
        return f"{plan.folds} folds: {plan.folds} times the epochs"
    if plan.seeds > 1:
        return f"stage {plan.stage}: {plan.seeds} seeds, {plan.seeds} times the epochs"
    return ""


def _with_remembered(options: LaunchOptions, stages: Sequence[StoredStage]) -> LaunchOptions:
    """Completes the options by those the study was launched with first."""
    if not stages:
        return options
    first = stages[0].plan
    total = options.max_epochs_total or first.max_epochs_total
    return replace(
        options.with_remembered(first.options),
        max_epochs_total=total,
        extend_borders=options.extend_borders or any(s.plan.extend_borders for s in stages),
    )


def _added(stored: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a stored sampler or pruner with options added, which are checked when it is made."""
    return {**stored, "options": {**stored.get("options", {}), **given}} if given else stored


def _for_arms(plan: Plan, count: int) -> Plan:
    """Returns the plan of a comparison by time: nothing is drawn, and nothing ended early."""
    return replace(
        plan,
        trials=count,
        flat_trials=None,
        sampler=SamplerSpec("random").to_dict(),
        pruner=PrunerSpec("none").to_dict(),
    )


def _spec(kind: Any, chosen: Any, options: Mapping[str, Any]) -> Any:
    return kind(chosen, dict(options)) if isinstance(chosen, str) else chosen


def _json_ready(subset: Subset) -> dict[str, Any]:
    fields = asdict(subset)
    return {**fields, "classes": list(subset.classes) if subset.classes else None}
