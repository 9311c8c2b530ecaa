"""The learning rates that a study should search, by range tests at one point of its space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from torch import Tensor, nn

from nnstudy.data import Data, load
from nnstudy.diagnostics.range_interval import Suggestion, suggest_rates
from nnstudy.diagnostics.range_test import RangeTest, learning_rate_range_test
from nnstudy.engines.central_point import ask_for_point
from nnstudy.errors import UserError
from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.fit import refuse_misfit
from nnstudy.study.blame import blame
from nnstudy.study.building import Conditions, build_training
from nnstudy.study.loading import LoadedStudy, load_study
from nnstudy.study.locality import is_local
from nnstudy.training import Recipe, Training
from nnstudy.training.seeds import derived_generator, seed_everything


@dataclass(frozen=True)
class RangeOptions:
    """How a study's learning rates are tested.

    Attributes:
        point: Values of some parameters; the rest are the study's first start, or the middle
            of their ranges.
        seeds: Number of tests, each with its own initial weights and minibatches.
        low: The lowest rate.
        high: The highest rate.
        steps: Minibatches of a test.
        data_directory: Where data files are.
        download: Whether missing data may be downloaded.
        device: Where to train.
    """

    point: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 3
    low: float = 1e-5
    high: float = 10.0
    steps: int = 400
    data_directory: Path | None = None
    download: bool = False
    device: str = "auto"


@dataclass(frozen=True)
class LearningRates:
    """What range tests of a study found.

    Attributes:
        study: Name of the study.
        params: The point at which its recipe was tested.
        optimizer: Name of the optimizer's class.
        tests: What the loss did, for each seed.
        suggestion: What to search; None where no rate makes the loss fall.
        parameter: The parameter that is the rate; None where none has its value.
        asked: The range that the recipe asks for under this name.
    """

    study: str
    params: Mapping[str, Any]
    optimizer: str
    tests: tuple[RangeTest, ...]
    suggestion: Suggestion | None
    parameter: str | None
    asked: FloatDistribution | None


def find_learning_rates(
    reference: str, options: RangeOptions, each: Callable[[int, RangeTest], None]
) -> LearningRates:
    """Tests the learning rates of a study; stores nothing.

    The recipe's optimizer is used with its rate replaced, with penalties, clipping, dropout and
    augmentation as they are, and without schedule, average and callbacks.

    Args:
        reference: Name or file of the study.
        options: Where and how.
        each: Hears the number of each test and what it found.

    Raises:
        UserError: If the study cannot be loaded or trained, or an option cannot be meant.
    """
    if options.seeds < 1:
        raise UserError(f"there must be at least one seed, got {options.seeds}")
    loaded = load_study(reference)
    data = load(
        loaded.study.data,
        loaded.study.split,
        directory=options.data_directory,
        download=options.download,
    )
    trial = _ask(loaded, data, options.point)
    tests = []
    for seed in range(options.seeds):
        training = _training(loaded, data, trial.params, seed, options.device)
        tests.append(_test(training, data, seed, options))
        each(seed, tests[-1])
    parameter = _rate_parameter(trial, training)
    asked = trial.distributions[parameter] if parameter else None
    assert asked is None or isinstance(asked, FloatDistribution)
    return LearningRates(
        study=loaded.study.name,
        params=trial.params,
        optimizer=type(training.optimizer).__name__,
        tests=tuple(tests),
        suggestion=suggest_rates(tests),
        parameter=parameter,
        asked=asked,
    )


def _ask(loaded: LoadedStudy, data: Data, point: Mapping[str, Any]) -> optuna.Trial:
    """Asks the recipe for what it asks for, and refuses what cannot be tested."""
    study = loaded.study
    seed_everything(0)
    try:
        trial, recipe = ask_for_point(
            lambda trial: study.recipe(trial, data),
            point=point,
            start=next(iter(study.start_points), {}),
        )
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the recipe of study {study.name!r} fails: {blame(error, _is_own(loaded))}"
        ) from error
    if not isinstance(recipe, Recipe):
        raise UserError(
            f"the recipe of study {study.name!r} returns a training loop of its own, whose"
            " optimizer is not known. Call nnstudy.diagnostics.learning_rate_range_test in it"
        )
    return trial


def _is_own(loaded: LoadedStudy) -> Callable[[Path], bool]:
    return lambda file: file == loaded.path or is_local(file, loaded.roots)


def _training(
    loaded: LoadedStudy, data: Data, params: Mapping[str, Any], seed: int, device: str
) -> Training:
    metric, direction = loaded.study.objective(data.task)
    conditions = Conditions(epochs=1, metric=metric, direction=direction, device=device)
    recipe = Candidate(loaded.study, data, conditions, params, seed).recipe()
    bare = replace(recipe, schedule=None, average=None, callbacks=())
    training = build_training(bare, loaded.study, data, conditions, seed=(seed,))
    assert isinstance(training, Training)
    refuse_misfit(training, data)
    return training


def _test(training: Training, data: Data, seed: int, options: RangeOptions) -> RangeTest:
    recipe, network = training.recipe, training.network

    def clip() -> None:
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
        if recipe.clip_value is not None:
            nn.utils.clip_grad_value_(network.parameters(), recipe.clip_value)

    return learning_rate_range_test(
        network,
        training.optimizer,
        training.loss,
        _Minibatches(training, data, seed),
        low=options.low,
        high=options.high,
        steps=options.steps,
        after_backward=clip,
    )


class _Minibatches:
    """The minibatches of a training, in another order each time."""

    def __init__(self, training: Training, data: Data, seed: int) -> None:
        self._training = training
        self._part = data.train.to(training.device)
        self._generator = derived_generator(seed, 1)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        recipe = self._training.recipe
        return self._part.minibatches(
            recipe.batch_size,
            self._part.order(self._generator),
            device=self._training.device,
            augmentation=recipe.augmentation,
        )


def _rate_parameter(trial: optuna.Trial, training: Training) -> str | None:
    """Finds the parameter that is the rate: it has its value, and best its name too."""
    rate = max(float(group["lr"]) for group in training.optimizer.param_groups)
    equal = [
        name
        for name, asked in trial.distributions.items()
        if isinstance(asked, FloatDistribution) and trial.params[name] == rate
    ]
    named = [name for name in equal if "lr" in name or "rate" in name]
    return next(iter(named + equal), None)
