"""A finished trial's network, made again: asked of the recipe, with the weights of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial
from torch import nn

from nnstudy.data import Data, Folds, Part
from nnstudy.errors import UserError
from nnstudy.search.endings import facts_of
from nnstudy.search.keeping import find_checkpoint
from nnstudy.search.kept_code import fetch_code
from nnstudy.search.plan import Plan
from nnstudy.search.ranges.given import RepeatedTrial
from nnstudy.search.settings import Settings
from nnstudy.study import Study
from nnstudy.study.building import build_training
from nnstudy.study.kept import load_kept
from nnstudy.study.loading import load_study
from nnstudy.study.sources import Sources, collect_sources
from nnstudy.tracking import Tracker
from nnstudy.training import Training
from nnstudy.training.checkpoints import read_weights
from nnstudy.training.devices import resolve_device
from nnstudy.training.evaluation import evaluate
from nnstudy.training.loop import default_loss
from nnstudy.training.own_loop import OwnTraining
from nnstudy.training.recipe import Loss


@dataclass(frozen=True)
class Trained:
    """A finished trial's network, with its best weights.

    Attributes:
        training: What the recipe builds.
        network: Its network.
        data: The data as it has learnt from them: those of its fold, where trials are
            cross-validated.
    """

    training: Training | OwnTraining
    network: nn.Module
    data: Data

    def loss(self, data: Data) -> Loss:
        """Returns what it was trained to make small; of a loop of one's own, the data's default."""
        training = self.training
        return training.loss if isinstance(training, Training) else default_loss(data.task)

    def measure(self, examples: Part, data: Data, device: str) -> dict[str, float]:
        """Returns ``loss``, ``accuracy`` for classes, and the recipe's metrics."""
        training, resolved = self.training, resolve_device(device)
        return evaluate(
            self.network,
            examples.to(resolved),
            self.loss(data),
            metrics=training.recipe.metrics if isinstance(training, Training) else None,
            device=resolved,
        )


def rebuild(
    study: Study,
    plan: Plan,
    data: Data,
    trial: FrozenTrial,
    settings: Settings,
    fetch: Callable[[str], Path],
) -> Trained:
    """Rebuilds a finished trial's network and reads its best weights.

    Of a trial that was trained several times it is the network of the best training.

    Args:
        study: The study, from its file.
        plan: The trial's stage.
        data: The study's data.
        trial: The trial.
        settings: Device, and where checkpoints are that have been moved.
        fetch: Fetches a checkpoint that is kept in MLflow and returns its file.

    Raises:
        UserError: If the network cannot be rebuilt, or its weights cannot be had any more.
    """
    place = facts_of(trial).get("checkpoint")
    if place is None:
        raise UserError(
            f"trial {trial.number} of {plan.name!r} has kept no weights: it ended before its first"
            f" {'validation' if plan.repeats == 1 else plan.repeat_kind + ' was trained'}, or its"
            " training loop is the user's own and names no network"
        )
    if plan.folds > 1 and best_repeat(trial):
        data = Folds(data, plan.folds, share=plan.data_share)[facts_of(trial)["best_repeat"] - 1]
    path = find_weights(place, trial.number, plan, settings, fetch)
    return rebuild_with(path, study, plan, data, trial, settings.device)


def best_repeat(trial: FrozenTrial) -> dict[str, Any] | None:
    """Returns what is known of the best of a trial's trainings.

    Returns:
        ``score``, ``best_epoch``, ``epochs`` and ``checkpoint``; None where the trial was trained
        once, or no training came to its end.
    """
    place = facts_of(trial).get("best_repeat")
    found: dict[str, Any] | None = facts_of(trial)["repeats"][place - 1] if place else None
    return found


def find_weights(
    place: str, number: int, plan: Plan, settings: Settings, fetch: Callable[[str], Path]
) -> Path:
    """Returns a checkpoint's file, from where it is kept now; it may be missing there.

    Args:
        place: Where it is stored: a path, or an artifact of MLflow.
        number: Number of its trial.
        plan: The trial's stage.
        settings: Where checkpoints are that have been moved.
        fetch: Fetches a checkpoint that is kept in MLflow and returns its file.

    Raises:
        UserError: If it is not in MLflow any more.
    """
    if found := find_checkpoint(plan, settings, number, place):
        return found
    return fetch(place) if place.startswith("runs:/") else Path(place)


def rebuild_with(
    path: Path, study: Study, plan: Plan, data: Data, trial: FrozenTrial, device: str
) -> Trained:
    """Rebuilds a finished trial's network with the weights of a file; reading them runs no code.

    Args:
        path: The file: one of the trial's checkpoints.
        study: The study, from its file.
        plan: The trial's stage.
        data: The study's data.
        trial: The trial.
        device: Where the network shall be.

    Raises:
        UserError: If the network cannot be rebuilt, or the weights cannot be read or do not fit.
    """
    training = ask_again(study, plan, data, trial, device)
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
    return Trained(training, network, data)


def load_planned_study(
    plan: Plan,
    warn: Callable[[str], None],
    *,
    reference: str | None = None,
    kept_in: Tracker | None = None,
) -> tuple[Study, Sources]:
    """Loads the study of a stored stage from its file, or from MLflow.

    Args:
        plan: The stage.
        warn: Told of source files that have changed since the launch, in words.
        reference: Where the study is here; default: as it was named at its launch.
        kept_in: MLflow, whose copy of the code is run instead of the file's; that is told.

    Returns:
        The study, and its sources.

    Raises:
        UserError: If it cannot be loaded.
    """
    if kept_in is not None:
        sources = fetch_code(kept_in, plan)
        study = load_kept(sources, f"with {plan.name!r} in MLflow", warn)
        return replace(study, name=plan.study), sources
    try:
        loaded = load_study(reference or plan.reference)
    except UserError as error:
        if not plan.sources:
            raise
        raise UserError(f"{error}\n--kept-code runs the copy that MLflow keeps instead") from error
    sources = collect_sources(loaded)
    if plan.sources:
        for change in sources.differences(plan.sources):
            warn(f"since {plan.name!r} was launched: {change}")
    return replace(loaded.study, name=plan.study), sources


def ask_again(
    study: Study, plan: Plan, data: Data, trial: FrozenTrial, device: str
) -> Training | OwnTraining:
    """Asks the recipe what a trial trained; its weights are not yet the trial's.

    Raises:
        UserError: If the recipe cannot be asked again.
    """
    asked = RepeatedTrial(trial, plan.parsed_ranges())
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
