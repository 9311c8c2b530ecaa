"""From what a recipe returned to something that yields records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nnstudy.data import Data
from nnstudy.errors import UserError
from nnstudy.study.study import Direction, Study
from nnstudy.training import OwnLoop, Recipe, Training
from nnstudy.training.devices import Precision
from nnstudy.training.own_loop import OwnTraining


@dataclass(frozen=True)
class Conditions:
    """What all trials of a stage have in common.

    Attributes:
        epochs: Largest number of epochs.
        metric: Key of the records that is optimised.
        direction: ``minimize`` or ``maximize``.
        validate_every: Training examples between two validations; None: an epoch.
        precision: ``float32`` or ``mixed``.
        device: Where to train.
        is_budgeted: Whether the epochs of all trials are counted, so that none may train more
            than ``epochs``.
    """

    epochs: float
    metric: str
    direction: Direction
    validate_every: int | None = None
    precision: Precision = "float32"
    device: str = "auto"
    is_budgeted: bool = False


def build_training(
    recipe: Recipe | OwnLoop | Iterable[Mapping[str, float]],
    study: Study,
    data: Data,
    conditions: Conditions,
    *,
    seed: tuple[int, ...],
) -> Training | OwnTraining:
    """Makes the training of what a study's recipe returned.

    Raises:
        UserError: If it returned nothing that can be trained, or wants more epochs than a
            budget leaves it.
    """
    if isinstance(recipe, Recipe):
        if conditions.is_budgeted and recipe.epochs and recipe.epochs > conditions.epochs:
            raise UserError(
                f"Recipe(epochs={recipe.epochs:g}) is more than the {conditions.epochs:g} epochs of"
                " a trial of this stage, for which there is room in --max-epochs-total. Give the"
                " stage as many epochs (Stage(epochs=...) or --epochs), or launch without"
                " --max-epochs-total"
            )
        return Training(
            recipe,
            data,
            epochs=conditions.epochs,
            seed=seed,
            early_stopping=study.early_stopping,
            metric=conditions.metric,
            direction=conditions.direction,
            validate_every=conditions.validate_every,
            device=conditions.device,
            precision=conditions.precision,
        )
    if not isinstance(recipe, (OwnLoop, Iterable)):
        raise UserError(
            f"the recipe of study {study.name!r} returned {type(recipe).__name__}; it must"
            " return a Recipe, an OwnLoop, or an iterable of epoch records"
        )
    return OwnTraining(
        recipe if isinstance(recipe, OwnLoop) else OwnLoop(epochs=recipe),
        epochs=conditions.epochs,
        early_stopping=study.early_stopping,
        metric=conditions.metric,
        direction=conditions.direction,
        seed=seed,
    )
