"""What a trial trains: once, or once for each fold or seed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import optuna

from nnstudy.search.confirmation.members import training_seed
from nnstudy.search.ranges.given import RangedTrial
from nnstudy.search.stage_work import StageWork
from nnstudy.study.building import build_training
from nnstudy.training import RepeatedTraining, Training
from nnstudy.training.own_loop import OwnTraining
from nnstudy.training.seeds import seed_everything

OneTraining = Training | OwnTraining
Wait = Callable[[Callable[[], OneTraining]], OneTraining]

_REPEAT = 3  # tells these seeds from others that are drawn from a trial's


class Trainings:
    """Makes a trial's trainings. The recipe is asked for each, with the values it has had.

    Args:
        trial: The trial.
        work: Its stage.
        wait: Calls what asks the recipe, again where the database is away.
    """

    def __init__(self, trial: optuna.Trial, work: StageWork, wait: Wait) -> None:
        self._trial = trial
        self._work = work
        self._wait = wait

    def make(self) -> OneTraining | RepeatedTraining:
        """Returns what is trained, from the beginning."""
        plan = self._work.plan
        if plan.repeats == 1:
            return self.one(0)
        return RepeatedTraining(
            self.one, plan.repeats, metric=plan.metric, direction=plan.direction
        )

    def one(self, number: int) -> OneTraining:
        """Returns one of the trainings.

        Args:
            number: Its number, from 0. The first has the seed that a single one would have.
        """
        return self._wait(partial(self._build, number))

    def _build(self, number: int) -> OneTraining:
        work, seed = self._work, training_seed(self._work.plan, self._trial)
        if number:
            seed = (*seed, number, _REPEAT)
        data = work.data if work.folds is None else work.folds[number]
        seed_everything(*seed)  # so that initial weights are the training's
        recipe = work.study.recipe(RangedTrial(self._trial, work.plan.parsed_ranges()), data)
        conditions = work.plan.conditions(work.settings.device)
        return build_training(recipe, work.study, data, conditions, seed=seed)
