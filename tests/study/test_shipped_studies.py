from __future__ import annotations

import inspect
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import optuna
import pytest
import torch

from nnstudy import UserError, augmentation, losses, models, schedules
from nnstudy.data import Data, Split, Subset, load, tensors
from nnstudy.data import datasets as ready
from nnstudy.study import Study
from nnstudy.study.discovery import shipped_directory
from nnstudy.study.loading import load_study
from nnstudy.training import Recipe, Training

FILES = sorted(shipped_directory().glob("*.py"))
SHAPES = {"mnist": (1, 28, 28), "fashion_mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def study(request: pytest.FixtureRequest) -> Study:
    return load_study(str(request.param)).study


def few_examples(study: Study) -> Data:
    """The study's own data where they are at hand, else noise of their shape."""
    is_large = study.name == "cifar_resnet"
    subset = Subset(examples=4 if is_large else 16, valid_examples=4 if is_large else 10)
    try:
        return load(study.data, study.split, subset)
    except UserError:
        source = getattr(study.data, "func", study.data)
        if source.__name__ not in SHAPES:
            raise
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(
            256, (100, *SHAPES[source.__name__]), dtype=torch.uint8, generator=generator
        )
        noise = tensors(images, torch.arange(100) % 10, name=source.__name__)
        return load(noise, Split(validation=0.3, selection=study.split.selection), subset)


def probes(study: Study, count: int) -> Sequence[optuna.Trial]:
    """Trials at the study's start points and at random ones."""
    search = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for point in study.start_points:
        search.enqueue_trial(point)
    return [search.ask() for _ in range(count + len(study.start_points))]


def test_recipe_builds_at_every_probe_and_trains_two_minibatches(study: Study) -> None:
    data = few_examples(study)
    for number, trial in enumerate(probes(study, 1 if study.name == "cifar_resnet" else 6)):
        torch.manual_seed(number)
        recipe = study.recipe(trial, data)
        assert isinstance(recipe, Recipe)
        recipe = replace(recipe, batch_size=max(2, min(recipe.batch_size, len(data.train) // 2)))
        (record,) = Training(recipe, data, epochs=2 * recipe.batch_size / len(data.train))
        assert all(math.isfinite(value) for value in record.values.values()), record


def test_every_start_point_is_taken_as_it_stands(study: Study) -> None:
    data = few_examples(study)
    for point, trial in zip(study.start_points, probes(study, 0), strict=True):
        study.recipe(trial, data)
        assert {name: trial.params[name] for name in point} == point


def test_name_is_the_files_and_the_docstring_says_what_is_expected(
    study: Study, request: pytest.FixtureRequest
) -> None:
    path: Path = request.node.callspec.params["study"]
    assert study.name == path.stem
    assert "\nExpected: " in path.read_text()


def test_together_they_use_everything_a_recipe_can_say() -> None:
    text = "\n".join(path.read_text() for path in FILES)
    wanted = {
        *(f"losses.{name}" for name in losses.__all__ if name != "mean_squared_error"),
        *(f"schedules.{name}" for name in public_functions(schedules) - {"adapt", "low_point"}),
        *(f"augmentation.{name}" for name in augmentation.__all__),
        *(f"models.{name}" for name in public_functions(models) - {"weights"}),
        *(f"optim.{name}" for name in ["SGD", "Adagrad", "RMSprop", "Adam", "AdamW", "LBFGS"]),
        *(f"datasets.{name}" for name in ready.__all__ if name not in ("tensors", "from_dataset")),
        *("nesterov=True", "clip_norm=", "l1=", "l2=", "weight_decay=", "max_norm=", "dropout="),
        *("label_smoothing=", "batch_norm=", "average=", "metrics=", "initialisers.NAMES"),
        *(f'"{name}"' for name in ("sigmoid", "tanh", "relu", "leaky_relu", "gelu")),
    }
    missing = {
        name
        for name in wanted
        if not re.search(re.escape(name) + (r"\b" if name[-1].isalnum() else ""), text)
    }
    assert not missing


def public_functions(module: ModuleType) -> set[str]:
    own = (name for name, value in vars(module).items() if inspect.isfunction(value))
    return {
        name
        for name in own
        if name.islower()
        and not name.startswith("_")
        and vars(module)[name].__module__.startswith(module.__name__)
    }
