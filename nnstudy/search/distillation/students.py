"""Networks that learn an ensemble's answers: a study whose recipe is given a teacher."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from nnstudy.data import Data
from nnstudy.errors import UserError
from nnstudy.search.distillation.lesson import MIX, TEMPERATURE, searched_of
from nnstudy.study import Study
from nnstudy.training import Recipe, Teacher
from nnstudy.training.loop import default_loss
from nnstudy.training.losses import Quadratic, link_of, mean_squared_error
from nnstudy.training.recipe import Loss

if TYPE_CHECKING:
    import optuna


def taught(study: Study, answers: Tensor) -> Study:
    """Returns a study whose recipe asks for mix and temperature too, and has a teacher.

    Args:
        study: The study, from its file.
        answers: What the ensemble answers to the examples that are trained on.
    """

    def recipe(trial: optuna.Trial, data: Data) -> Recipe:
        made = teachable(study.recipe(trial, data), study.name, data)
        given = {
            name: trial.suggest_float(name, asked.low, asked.high, log=asked.log)
            for name, asked in searched_of(data.task).items()
        }
        link = link_of(made.loss or default_loss(data.task)) if data.classes else None
        teacher = Teacher(answers, given[MIX], given.get(TEMPERATURE, 1.0), link)
        return replace(made, teacher=teacher)

    return replace(study, recipe=recipe)


def teachable(made: object, study: str, data: Data) -> Recipe:
    """Returns what a recipe returned, if a teacher can be put beside its loss.

    Args:
        made: What it returned.
        study: Name of the study.
        data: Its data.

    Raises:
        UserError: If its training loop is the user's own, or its loss compares outputs with classes
            in another way than as scores.
    """
    if not isinstance(made, Recipe):
        raise UserError(
            f"study {study!r} has a training loop of its own, whose loss is not nnstudy's to change:"
            " let its recipe return a Recipe, or distill in that loop"
        )
    if data.classes and _takes_no_scores(made.loss or default_loss(data.task)):
        raise UserError(
            f"the loss of study {study!r} compares outputs with the labels as they are, so that they"
            " are no scores of classes to be softened by a temperature. Search with one that takes"
            " scores, such as cross-entropy, Quadratic('softmax') or Quadratic('sigmoid')"
        )
    return made


def _takes_no_scores(loss: Loss) -> bool:
    if isinstance(loss, Quadratic):
        return loss.activation in (None, "tanh")
    return isinstance(loss, (nn.MSELoss, nn.L1Loss)) or loss in (
        mean_squared_error,
        F.mse_loss,
        F.l1_loss,
    )
