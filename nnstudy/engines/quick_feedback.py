"""A quick look at a study: does anything learn at all?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import optuna

from nnstudy.data import Data, Part, Subset, load_few
from nnstudy.data.split import hold_out
from nnstudy.engines.options import LaunchOptions
from nnstudy.engines.quick_learners import try_linear, try_recipe
from nnstudy.engines.quick_result import QuickResult
from nnstudy.engines.quick_runs import QuickRuns
from nnstudy.engines.quick_trainer import SECONDS, Trainer
from nnstudy.engines.smallest import smallest_point
from nnstudy.engines.subject import Subject
from nnstudy.preflight.preflight import undisturbed
from nnstudy.search.events import Emit, Event, ignore, warnings_told
from nnstudy.study import Study
from nnstudy.study.building import Conditions
from nnstudy.study.loading import load_study
from nnstudy.training.devices import resolve_device

# Nielsen, "Neural Networks and Deep Learning", chapter 3, "Broad strategy".
CLASSES = 2
EXAMPLES = 1000
VALID_EXAMPLES = 100
VALIDATE_EVERY = 1000
EXAMPLES_SEEN = 10_000
"""Ten passes over a thousand examples, and more over fewer."""


def quick(study: Study | str, *, emit: Emit = ignore, **options: Any) -> QuickResult:
    """Looks whether anything of a study learns, in seconds; Optuna's storage hears nothing of it.

    On few examples of few classes, a linear model of the inputs is trained at several rates,
    then the recipe where its network is smallest. Of each the best validation is judged on
    other examples, by which nothing was chosen. The trainings are kept in MLflow.

    Args:
        study: A study, or what names one: a name, or the path of a study file.
        emit: Hears each validation, as an ``Event`` of kind ``quick``.
        options: Fields of ``LaunchOptions``: ``subset``, ``epochs`` (passes over the examples),
            ``validate_every``, ``precision``, ``seed``, ``name``, ``settings`` (device and
            threads), and those that say where data and MLflow are. The others mean nothing.

    Raises:
        UserError: If the study cannot be loaded or trained, or MLflow cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    given = LaunchOptions(**options)
    loaded = load_study(study) if isinstance(study, str) else None
    declared = loaded.study if loaded else study
    assert isinstance(declared, Study)
    subject = Subject(declared, loaded, given, emit)
    with undisturbed(given.settings.threads), warnings_told(emit):
        return _look(_trainer(subject, given, emit), given)


def _trainer(subject: Subject, options: LaunchOptions, emit: Emit) -> Trainer:
    # Each training is to show all that it can within its passes.
    study = replace(subject.study, early_stopping=None)
    resolve_device(options.settings.device)  # refused before anything is loaded or written
    data, unseen = _few(study, options)
    metric, direction = study.objective(data.task)
    conditions = Conditions(
        options.epochs or max(1.0, EXAMPLES_SEEN / len(data.train)),
        metric,
        direction,
        options.validate_every or VALIDATE_EVERY,
        options.precision or "float32",
        options.settings.device,
    )
    return Trainer(study, data, unseen, conditions, subject.is_own, emit)


def _few(study: Study, options: LaunchOptions) -> tuple[Data, Part]:
    """Returns few examples, and of those held out a half that nothing is chosen by."""
    asked = options.subset
    each = asked.valid_examples or VALID_EXAMPLES
    data = load_few(
        study.data,
        study.split,
        Subset(asked.classes, asked.examples or EXAMPLES, 2 * each),
        classes=CLASSES,
        directory=options.data_directory,
        download=options.download,
    )
    held = data.validation
    kept, unseen = hold_out(
        held.targets, 0.5, study.split.seed, stratify=data.task == "classification"
    )
    return replace(data, validation=held.take(kept)), held.take(unseen)


def _look(trainer: Trainer, options: LaunchOptions) -> QuickResult:
    started = time.monotonic()
    study = trainer.study
    with trainer.blaming():
        point = smallest_point(trainer.ask, next(iter(study.start_points), {}))
    sizes = _sizes(trainer)
    params = {"classes": ", ".join(trainer.data.class_names), "seed": study.seed, **sizes}
    runs = QuickRuns(study, trainer.data, trainer.conditions.metric, options, params)
    notes: list[str] = []
    with runs.ended_in_any_case():
        trainer.emit(Event("message", {"text": _announcement(trainer, sizes)}))
        result = QuickResult(
            study=study.name,
            classes=trainer.data.class_names,
            **sizes,
            linear=try_linear(trainer, runs),
            recipe=try_recipe(trainer, point, runs, notes),
            notes=tuple(notes),
            seconds=time.monotonic() - started,
            run_id=runs.parent.run_id,
            tracking=runs.tracker.masked_uri,
        )
        runs.conclude(result)
    return result


def _sizes(trainer: Trainer) -> dict[str, Any]:
    return {
        "examples": len(trainer.data.train),
        "valid_examples": len(trainer.data.validation),
        "judged_examples": len(trainer.unseen),
        "passes": trainer.conditions.epochs,
        "seconds_each": SECONDS,
    }


def _announcement(trainer: Trainer, sizes: Mapping[str, Any]) -> str:
    names = trainer.data.class_names
    of = f" of the classes {', '.join(names)}" if 0 < len(names) <= 10 else ""
    return (
        f"{trainer.study.name}: {sizes['examples']} training examples{of},"
        f" {sizes['valid_examples']} to validate on and {sizes['judged_examples']} others to judge"
        f" by; each training up to {sizes['passes']:.3g} passes or {SECONDS:g} s"
    )
