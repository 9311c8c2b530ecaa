"""Measuring a finished trial again: its network rebuilt, its best weights read."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FixedTrial, FrozenTrial
from torch import nn

from nnstudy.data import Data, Part
from nnstudy.errors import UserError
from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.keeping import fetch_checkpoint, trial_directory
from nnstudy.search.locks import study_lock
from nnstudy.search.opening import load_planned_data
from nnstudy.search.plan import Plan
from nnstudy.search.results import best_trial
from nnstudy.search.settings import Settings
from nnstudy.search.stored import StoredStage, require_stages
from nnstudy.study import Study
from nnstudy.study.building import build_training
from nnstudy.study.loading import load_study
from nnstudy.study.sources import collect_sources
from nnstudy.tracking import Tracker
from nnstudy.training import Training
from nnstudy.training.checkpoints import read_weights
from nnstudy.training.devices import resolve_device
from nnstudy.training.evaluation import evaluate
from nnstudy.training.loop import default_loss
from nnstudy.training.own_loop import OwnTraining

PartName = Literal["validation", "selection", "test"]

_TEST_LOOKS = "nnstudy:test_looks"


@dataclass(frozen=True)
class Evaluation:
    """How a trial's best network does on a part of the data.

    Attributes:
        study: Name of the study.
        stage: Name of the trial's stage.
        trial: Number of the trial.
        part: What it was measured on.
        examples: How many examples that part has.
        epoch: Epoch of the weights, or None.
        checkpoint: Where the weights are kept.
        scores: ``loss``, ``accuracy`` for classes, and the recipe's metrics.
        test_looks: How often the study's test part was looked at, this time included.
    """

    study: str
    stage: str
    trial: int
    part: PartName
    examples: int
    epoch: float | None
    checkpoint: str
    scores: dict[str, float]
    test_looks: int


def evaluate_trial(
    storage: RDBStorage,
    name: str,
    *,
    stage: str | None = None,
    number: int | None = None,
    part: PartName = "validation",
    settings: Settings | None = None,
    tracking_uri: str | None = None,
    artifacts: str | None = None,
    data_directory: Path | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Measures a finished trial's best network on a part of the data.

    A look at the test part is recorded with the study first, and only when nothing else is
    left that could fail.

    Args:
        storage: Optuna's storage.
        name: Name of the study.
        stage: A stage; default: the last one that has such a trial.
        number: Number of the trial; default: the best one.
        part: What to measure on.
        settings: Device, and where checkpoints are that have been moved.
        tracking_uri: URI of MLflow, for checkpoints that are kept there.
        artifacts: Root of its artifacts.
        data_directory: Where data files are.
        warn: Told what should be known of, in words.

    Raises:
        UserError: If there is no such trial, or what is needed cannot be had any more.
    """
    settings = settings or Settings()
    stages = require_stages(storage, name)
    chosen, trial = _choose(stages, name, stage, number)
    plan = chosen.plan
    study = _load_study(plan, warn)
    data = load_planned_data(study, plan, directory=data_directory)
    training = _rebuild(study, plan, data, trial, settings.device)
    with tempfile.TemporaryDirectory() as scratch:
        network = _trained(
            training,
            _find(
                trial,
                plan,
                settings,
                lambda place: fetch_checkpoint(
                    Tracker(tracking_uri, artifacts), place, Path(scratch)
                ),
            ),
        )
    examples = _open(data, part, lambda: _record_look(storage, chosen, trial.number))
    device = resolve_device(settings.device)
    scores = evaluate(
        network,
        examples.to(device),
        training.loss if isinstance(training, Training) else default_loss(data.task),
        metrics=training.recipe.metrics if isinstance(training, Training) else None,
        device=device,
    )
    return Evaluation(
        study=name,
        stage=plan.stage,
        trial=trial.number,
        part=part,
        examples=len(examples),
        epoch=_facts(trial).get("best_epoch"),
        checkpoint=_facts(trial)["checkpoint"],
        scores=scores,
        test_looks=sum(len(test_looks(stage.optuna_study)) for stage in stages),
    )


def test_looks(study: optuna.Study) -> list[dict[str, Any]]:
    """Returns the looks at the test part that were taken for a stage: ``when``, ``trial``."""
    looks: list[dict[str, Any]] = study.user_attrs.get(_TEST_LOOKS, [])
    return looks


def _choose(
    stages: list[StoredStage], name: str, stage: str | None, number: int | None
) -> tuple[StoredStage, FrozenTrial]:
    wanted = [found for found in stages if stage in (None, found.plan.stage)]
    if not wanted:
        names = ", ".join(found.plan.stage for found in stages)
        raise UserError(f"study {name!r} has no stage {stage!r}; it has: {names}")
    for found in reversed(wanted):
        if number is None:
            trial = best_trial(found.optuna_study)
        else:
            trials = found.optuna_study.get_trials(deepcopy=False)
            trial = trials[number] if 0 <= number < len(trials) else None
        if trial is not None:
            if not trial.state.is_finished():
                raise UserError(f"trial {number} of {found.plan.name!r} is not finished")
            return found, trial
    if number is None:
        raise UserError(f"study {name!r} has no complete trial yet; see nnstudy status {name}")
    raise UserError(f"study {name!r} has no trial {number}; see nnstudy status {name}")


def _load_study(plan: Plan, warn: Callable[[str], None]) -> Study:
    loaded = load_study(plan.reference)
    if plan.sources:
        for change in collect_sources(loaded).differences(plan.sources):
            warn(f"since {plan.name!r} was launched: {change}")
    return replace(loaded.study, name=plan.study)


def _rebuild(
    study: Study, plan: Plan, data: Data, trial: FrozenTrial, device: str
) -> Training | OwnTraining:
    """Asks the recipe what the trial trained; its weights are not yet the trial's."""
    asked = FixedTrial(trial.params, trial.number)
    # Nothing is trained here, so what was trained in mixed precision can be measured on a CPU.
    conditions = replace(plan.conditions(device), precision="float32")
    try:
        recipe = study.recipe(asked, data)  # type: ignore[arg-type] # stands in for a trial
        return build_training(recipe, study, data, conditions, seed=(plan.seed,))
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the recipe cannot rebuild trial {trial.number} of {plan.name!r} from its parameters"
            f" ({type(error).__name__}: {error}). Has the study file {plan.reference} been"
            " changed? It is kept as it was with the stage's run in MLflow, under code/"
        ) from error


def _find(trial: FrozenTrial, plan: Plan, settings: Settings, fetch: Callable[[str], Path]) -> Path:
    """Returns the checkpoint's file, from where it is kept now."""
    place = _facts(trial).get("checkpoint")
    if place is None:
        raise UserError(
            f"trial {trial.number} of {plan.name!r} has kept no weights: it ended before its first"
            " validation, or its training loop is the user's own and names no network"
        )
    moved = trial_directory(plan, settings, trial.number) / Path(place).name
    if moved.exists():
        return moved
    return fetch(place) if place.startswith("runs:/") else Path(place)


def _trained(training: Training | OwnTraining, path: Path) -> nn.Module:
    """Returns the network with the weights of a checkpoint; reading them runs no code."""
    network = training.network
    if network is None:
        raise UserError("the study's training loop is the user's own and names no network")
    weights = read_weights(path)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"the weights {path} do not fit the network that the recipe builds now: {error}"
        ) from error
    return network


def _open(data: Data, part: PartName, record: Callable[[], None]) -> Part:
    if part == "test":
        return data.open_test(record)
    chosen = data.validation if part == "validation" else data.selection
    if len(chosen) == 0:
        raise UserError(f"the {part} part of {data.name} is empty")
    return chosen


def _record_look(storage: RDBStorage, stage: StoredStage, number: int) -> None:
    look = {"when": datetime.datetime.now(datetime.UTC).isoformat(), "trial": number}
    with study_lock(storage, stage.plan.name):
        looks = test_looks(stage.optuna_study)
        stage.optuna_study.set_user_attr(_TEST_LOOKS, [*looks, look])


def _facts(trial: FrozenTrial) -> dict[str, Any]:
    facts: dict[str, Any] = trial.user_attrs.get(ATTRIBUTE, {})
    return facts
