"""A study at hand, looked at before anything of it is stored."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
import torch

from nnstudy import __version__
from nnstudy.data import Data, load
from nnstudy.engines.options import LaunchOptions
from nnstudy.errors import UserError
from nnstudy.preflight import BUDGET_SECONDS, Rehearsal, Report, rehearse, run_preflight
from nnstudy.preflight.candidate import Search
from nnstudy.preflight.files import write_files
from nnstudy.preflight.kept import keep, key_of, recall
from nnstudy.preflight.preflight import undisturbed
from nnstudy.preflight.result import Result
from nnstudy.search.events import Emit, Event
from nnstudy.search.ranges.limits import check_limits
from nnstudy.search.space import Space, probe
from nnstudy.study import Stage, Study
from nnstudy.study.building import Conditions
from nnstudy.study.loading import LoadedStudy
from nnstudy.study.locality import is_local
from nnstudy.study.plans import planned
from nnstudy.study.sources import Sources, collect_sources
from nnstudy.study.stage import parse_stages, rounded_epochs
from nnstudy.training.devices import resolve_device

_PROBES = 50


class Subject:
    """A study with its data, its space and its sources, none of which is stored anywhere.

    Args:
        study: The study.
        loaded: Where it came from; None for a study made in a notebook.
        options: What overrides the study file.
        emit: Hears what is found.

    Attributes:
        study: The study, with what the options override.

    Raises:
        UserError: If the recipe cannot be asked for its parameters.
    """

    def __init__(
        self, study: Study, loaded: LoadedStudy | None, options: LaunchOptions, emit: Emit
    ) -> None:
        _refuse_two_ways(options)
        self.study = _with_fields(study, options)
        self._loaded = loaded
        self._options = options
        self._emit = emit
        self._refuse_generator()
        self.study = _with_trials(replace(self.study, stages=self._stages()), options)

    def _stages(self) -> list[Stage]:
        """Returns the stages that the options mean."""
        stages, options = self.study.stages, self._options
        if options.stages:
            stages = parse_stages(options.stages, stages)
        elif options.plan:
            stages, told = planned(
                options.plan, options.plan_options, self.space.parameters, stages
            )
            self._emit(Event("message", {"text": told}))
        return [_with_options(stage, stages, options) for stage in stages]

    def _refuse_generator(self) -> None:
        if inspect.isgeneratorfunction(self.study.recipe):
            raise UserError(
                f"the recipe of study {self.study.name!r} is itself a generator, so its"
                " parameters are not known before an epoch is trained. Ask the trial for"
                " values first and return the generator: def recipe(trial, data): lr ="
                " trial.suggest_float(...); return train(lr, data)"
            )

    @cached_property
    def data(self) -> Data:
        """The data, loaded when first asked for."""
        return load(
            self.study.data,
            self.study.split,
            self._options.subset,
            directory=self._options.data_directory,
            download=self._options.download,
        )

    @cached_property
    def space(self) -> Space:
        """What the recipe asks for."""
        data = self.data  # loaded now, and not on "meta"

        def ask(trial: optuna.Trial) -> object:
            return self.study.recipe(trial, data)

        with torch.device("meta"):
            space = probe(ask, _PROBES, starts=self.study.start_points)
        if space.failures:
            # Some recipes compute with weights while they build, which "meta" has none of.
            space = probe(ask, _PROBES, starts=self.study.start_points)
        check_limits(self.study.limits, space)
        return space

    @cached_property
    def sources(self) -> Sources | None:
        """The study file and what it imports, or None."""
        return collect_sources(self._loaded) if self._loaded else None

    def conditions(self) -> Conditions:
        """Returns what all trials of the first stage have in common."""
        metric, direction = self.study.objective(self.data.task)
        return Conditions(
            self.study.stages[0].epochs,
            metric,
            direction,
            self.study.validate_every,
            self._options.precision or "float32",
            self._options.settings.device,
            is_budgeted=self._options.max_epochs_total is not None,
        )

    def rehearse(self, conditions: Conditions) -> Rehearsal:
        """Trains a few minibatches at a few points, and warns of those that cannot be trained.

        Raises:
            UserError: If none can.
        """
        with undisturbed(self._options.settings.threads):
            rehearsal = rehearse(
                self.study,
                self.data,
                conditions,
                starts=self.study.start_points,
                is_own=self.is_own,
            )
        for failure in rehearsal.failures:
            text = f"a sampled recipe cannot be trained; such trials will fail: {failure}"
            self._emit(Event("warning", {"text": text}))
        return rehearsal

    def recall(self, conditions: Conditions) -> Report | None:
        """Returns the report of an earlier check that passed, if nothing has changed since."""
        key = self._key(conditions)
        return recall(key) if key else None

    def check(
        self,
        conditions: Conditions,
        rehearsal: Rehearsal,
        workers: int,
        budget: float = BUDGET_SECONDS,
    ) -> Report:
        """Checks the study, and keeps the report where nothing in it stops a launch.

        Args:
            conditions: What all trials have in common.
            rehearsal: At which points to check.
            workers: How many trials will be trained at once.
            budget: Seconds after which no check is begun any more.
        """
        with undisturbed(self._options.settings.threads):
            report = run_preflight(
                self.study,
                self.data,
                conditions,
                points=rehearsal.points,
                search=self._search(workers),
                tell=self._tell,
                budget=budget,
            )
        key = self._key(conditions)
        if key and report.passed:
            keep(key, report)
        return report

    def write_files(self, report: Report, directory: Path, conditions: Conditions) -> None:
        """Writes a report, as JSON and as Markdown, and a picture of examples."""
        with undisturbed(self._options.settings.threads):
            write_files(report, directory, self.study, self.data, conditions)

    def _key(self, conditions: Conditions) -> str | None:
        """What a report is kept under; None for a study without a file, which may always change."""
        if self.sources is None:
            return None
        return key_of(self.sources.hash, self.data.digest, conditions, __version__)

    def is_own(self, file: Path) -> bool:
        """Says of a file whether it is the user's."""
        if self._loaded is None:
            return is_local(file, (Path.cwd(),))
        return file == self._loaded.path or is_local(file, self._loaded.roots)

    def _search(self, workers: int) -> Search:
        return Search(
            {name: asked.distributions for name, asked in self.space.parameters.items()},
            max(_PROBES, len(self.study.start_points)),
            [(failure.params, failure.error) for failure in self.space.failures],
            workers,
            self.is_own,
        )

    def _tell(self, result: Result) -> None:
        self._emit(Event("check", {"study": self.study.name, **asdict(result)}))


def default_workers(device: str) -> int:
    """One worker for each device of CUDA (or the one named), or for each core we may use."""
    chosen = resolve_device(device)
    if chosen.type == "cuda":
        return torch.cuda.device_count() if chosen.index is None else 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _refuse_two_ways(options: LaunchOptions) -> None:
    """Raises UserError where options of a launch say twice which stages there are."""
    if options.stages and options.plan:
        raise UserError(
            f"--stages {options.stages} and --plan {options.plan} both say which stages there are;"
            " give one of them (a stored study remembers its own)"
        )
    if options.plan_options and not options.plan:
        raise UserError("--plan-option is an option of a plan: add --plan one-at-a-time")


def _with_fields(study: Study, options: LaunchOptions) -> Study:
    """Returns the study with what the options override of it, but for its stages."""
    split = study.split
    if options.selection is not None:
        split = replace(split, selection=options.selection)
    return replace(
        study,
        name=options.name or study.name,
        split=split,
        folds=study.folds if options.folds is None else options.folds,
        seed=study.seed if options.seed is None else options.seed,
        validate_every=(
            study.validate_every if options.validate_every is None else options.validate_every
        ),
    )


def _with_options(stage: Stage, stages: Sequence[Stage], options: LaunchOptions) -> Stage:
    """Returns one of the stages with what the options override of it."""
    return replace(
        stage,
        epochs=_scaled(stage, stages, options.epochs),
        flat_trials=options.flat_trials or stage.flat_trials,
        sampler=options.sampler or stage.sampler,
        sampler_options=_override(
            stage.sampler_options, options.sampler_options, renamed=options.sampler is not None
        ),
        pruner=options.pruner or stage.pruner,
        pruner_options=_override(
            stage.pruner_options, options.pruner_options, renamed=options.pruner is not None
        ),
    )


def _with_trials(study: Study, options: LaunchOptions) -> Study:
    return study if options.trials is None else study.with_trials(options.trials)


def _scaled(stage: Stage, stages: Sequence[Stage], longest: float | None) -> float:
    """Returns the epochs of a stage where another longest training is asked for."""
    planned = max(stage.epochs for stage in stages)
    if longest is None:
        return stage.epochs
    return longest if stage.epochs == planned else rounded_epochs(stage.epochs * longest / planned)


def _override(own: Mapping[str, Any], given: Mapping[str, Any], *, renamed: bool) -> dict[str, Any]:
    """Options of another sampler do not fit; options of the same are added."""
    return dict(given) if renamed else {**own, **given}
