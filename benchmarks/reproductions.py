"""Do shipped studies show what is reported of the networks that they train?

Each comparison trains points of a study's space that differ in one thing, on MNIST or a part of its
training images, with the same three seeds. An arm with several points is given the best of them for a
seed of its own, which is not counted again. What is compared is the accuracy on validation images
after the last epoch. EXPECTATIONS says what the sources report; expectations.py when it is agreed to.
The dead start is searched as `nnstudy launch dead_start_mnist` does, once for each seed.

    NNSTUDY_DATA_DIR=/path/with/MNIST python benchmarks/reproductions.py
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from expectations import Expectation, gain, lead, of, slope
from record import write_result

from nnstudy import Study, Training, initialisers, launch
from nnstudy.data import Data, Subset, load
from nnstudy.engines import Settings
from nnstudy.study.loading import load_study
from nnstudy.training import Diverged
from nnstudy.training.seeds import seed_everything

SEEDS = range(3)
CHOOSING_SEED = 1000
GUESSING = 0.1
"""Accuracy that a training which diverged is given: what its network answers is no answer."""

Point = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Trainings of a study that differ in one thing.

    Attributes:
        study: The shipped study whose recipe is trained.
        examples: Training images.
        epochs: Of each training.
        arms: The points of each arm, of which its best is compared.
        shared: Parameters that all arms have.
    """

    study: str
    examples: int
    epochs: float
    arms: Mapping[str, Sequence[Point]]
    shared: Point = field(default_factory=dict)


MINIBATCHES = (8, 32, 128, 512, 2048)
UNITS = (10, 30, 100, 300, 1000, 2000)
CELLS = ("rnn", "lstm", "gru")
SCHEDULES = (
    *("constant", "step", "exponential", "time-based, by epochs", "time-based, by minibatches"),
)
OPTIMIZER_RATES = {
    "sgd": (0.1, 0.3, 1.0),
    "momentum": (0.01, 0.03, 0.1, 0.3),
    "nesterov": (0.01, 0.03, 0.1, 0.3),
    "adagrad": (0.01, 0.03, 0.1),
    "rmsprop": (3e-4, 1e-3, 3e-3),
    "adam": (1e-3, 3e-3, 1e-2),
    "adamw": (1e-3, 3e-3, 1e-2),
}
CAPACITY_RATES = (0.03, 0.1)
ROWS_RATES = (1e-3, 10**-2.5, 1e-2)


def named(name: str, values: Sequence[Any]) -> dict[str, list[Point]]:
    """An arm of one point for each value of a parameter."""
    return {str(value): [{name: value}] for value in values}


COMPARISONS = {
    "dead start, 1,000 images": Comparison(
        "dead_start_mnist", 1000, 3, {"start": [{"lr": 10.0, "lambda": 1000.0}]}
    ),
    "initialisers": Comparison(
        "initialisers_mnist",
        50_000,
        3,
        named("initialiser", initialisers.NAMES),
        {"depth": 2, "activation": "relu", "bias": "zeros", "lr": 0.1},
    ),
    "initial spread": Comparison(
        "initialisers_mnist",
        10_000,
        3,
        named("initialiser", ["normal", "fan_in_normal"]),
        {"depth": 1, "activation": "sigmoid", "bias": "normal", "lr": 0.5},
    ),
    "annealing": Comparison("annealing_mnist", 5000, 60, named("schedule", SCHEDULES)),
    "optimizers": Comparison(
        "optimizers_mnist",
        10_000,
        10,
        {
            name: [{"optimizer": name, f"lr_{name}": lr} for lr in rates]
            for name, rates in OPTIMIZER_RATES.items()
        },
    ),
    "rows": Comparison(
        "rows_mnist",
        5000,
        5,
        {
            f"{cell}, {layers}": [{"cell": cell, "layers": layers, "lr": lr} for lr in ROWS_RATES]
            for cell, layers in product(CELLS, (1, 2))
        },
    ),
    "units": Comparison(
        "capacity_mnist",
        5000,
        10,
        {str(units): [{"units": units, "lr": lr} for lr in CAPACITY_RATES] for units in UNITS},
        {"layers": 1},
    ),
    "layers": Comparison(
        "capacity_mnist",
        5000,
        10,
        {
            str(layers): [{"layers": layers, "lr": lr} for lr in CAPACITY_RATES]
            for layers in (1, 2, 3)
        },
        {"units": 100},
    ),
    "minibatches": Comparison("minibatches_mnist", 5000, 5, named("batch_size", MINIBATCHES)),
}

GEOSCIENTISTS = "Data Science and Machine Learning for Geoscientists, chapter 19, opening"
GUIDE = "Simple Guide to Hyperparameter Tuning in Neural Networks"
UPDATES = 'CS231n, "Parameter updates"'
ADAPTIVE = 'CS231n, "Per-parameter adaptive learning rate methods"'
TEXT = "the text on hyperparameters"
CAPACITY = f'{TEXT}, "Number of Hidden Units / Layers"'
NO_BETTER_THAN_CHANCE = 0.12
"""Above what naming one class always gives: at most 11.4 % of MNIST's images are of one."""

EXPECTATIONS = [
    Expectation(
        "dead start",
        "accuracy after two epochs of 50,000 images, rate 10, lambda 1000",
        of("start"),
        '"no better than chance"',
        GEOSCIENTISTS,
        high=NO_BETTER_THAN_CHANCE,
        unit="share",
    ),
    Expectation(
        "dead start, 1,000 images",
        "the same with 1,000 images",
        of("start"),
        '"still getting pure noise"',
        f'{GEOSCIENTISTS.removesuffix(", opening")}, "Broad Strategy"',
        high=NO_BETTER_THAN_CHANCE,
        unit="share",
    ),
    Expectation(
        "dead start",
        "accuracy, at one epoch each, after the rate without lambda, then lambda, then both finer",
        of("rescued"),
        "above 90 %; the source gives the way and no figure",
        f'{GEOSCIENTISTS.removesuffix(", opening")}, "Specific Recommendations"',
        low=0.9,
        unit="share",
    ),
    Expectation(
        "initialisers",
        "better of lecun_uniform and glorot_uniform over the best other one",
        lead(["lecun_uniform", "glorot_uniform"]),
        '"best results are obtained either from lecun_uniform ... or glorot_uniform"',
        f'{GUIDE}, "Trying Different Weight Initializations"',
        low=0,
    ),
    Expectation(
        "initialisers",
        "accuracy of glorot_uniform",
        of("glorot_uniform"),
        '"close to 97% accuracy": 96.5 to 97.5 %',
        f'{GUIDE}, "Trying Different Weight Initializations"',
        low=0.965,
        high=0.975,
        unit="share",
    ),
    Expectation(
        "initial spread",
        "weights of spread 1/sqrt(fan-in) over N(0, 1), after the first epoch",
        gain(["fan_in_normal"], ["normal"], "first"),
        '"will speed up training"',
        'A Survey of Neural Network Hyperparameters, "Parameter Initialization"',
        low=0,
    ),
    Expectation(
        "annealing",
        "jumps of the validation loss from epoch to epoch, exponential over time-based by epochs",
        gain(["exponential"], ["time-based, by epochs"], "roughness"),
        '"looks smoother now"',
        f"{GUIDE}, step 2",
        high=0,
        unit="factor",
    ),
    Expectation(
        "annealing",
        "the same over time-based by minibatches, as the guide's library counts",
        gain(["exponential"], ["time-based, by minibatches"], "roughness"),
        '"looks smoother now"',
        f"{GUIDE}, step 2",
        high=0,
        unit="factor",
    ),
    Expectation(
        "annealing",
        "accuracy, exponential over time-based by epochs",
        gain(["exponential"], ["time-based, by epochs"]),
        '"a helpful way to improve neural network performance"',
        f"{GUIDE}, step 2",
        low=0,
    ),
    Expectation(
        "annealing",
        "accuracy, mean of step, exponential and time-based by minibatches over a constant rate",
        gain(["step", "exponential", "time-based, by minibatches"], ["constant"]),
        '"usually helpful to anneal"',
        'CS231n, "Annealing the learning rate"',
        low=0,
    ),
    Expectation(
        "optimizers",
        "momentum over plain SGD",
        gain(["momentum"], ["sgd"]),
        '"almost always enjoys better converge rates"',
        UPDATES,
        low=0,
    ),
    Expectation(
        "optimizers",
        "Nesterov's momentum over the usual one",
        gain(["nesterov"], ["momentum"]),
        '"consistently works slightly better"',
        UPDATES,
        low=0,
    ),
    Expectation(
        "optimizers",
        "Adam over RMSProp",
        gain(["adam"], ["rmsprop"]),
        '"often works slightly better"',
        ADAPTIVE,
        low=0,
    ),
    Expectation(
        "optimizers",
        "Adam over Adagrad",
        gain(["adam"], ["adagrad"]),
        'Adagrad "usually proves too aggressive and stops learning too early"',
        ADAPTIVE,
        low=0,
    ),
    Expectation(
        "optimizers",
        "Adam over SGD with Nesterov's momentum",
        gain(["adam"], ["nesterov"]),
        '"the two recommended updates": within half a point',
        'CS231n, "Summary"',
        low=-0.005,
        high=0.005,
    ),
    Expectation(
        "rows",
        "LSTM over the plain RNN, mean of one and two layers",
        gain(["lstm, 1", "lstm, 2"], ["rnn, 1", "rnn, 2"]),
        '"significantly outperform the RNN"',
        f"{TEXT}, quoting Karpathy et al. 2015",
        low=0,
    ),
    Expectation(
        "rows",
        "GRU over the plain RNN, mean of one and two layers",
        gain(["gru, 1", "gru, 2"], ["rnn, 1", "rnn, 2"]),
        '"significantly outperform the RNN"',
        f"{TEXT}, quoting Karpathy et al. 2015",
        low=0,
    ),
    Expectation(
        "rows",
        "GRU over LSTM, mean of one and two layers",
        gain(["gru, 1", "gru, 2"], ["lstm, 1", "lstm, 2"]),
        '"the GRU outperformed the LSTM"',
        f"{TEXT}, quoting Jozefowicz et al. 2015",
        low=0,
    ),
    Expectation(
        "rows",
        "two layers over one, mean of LSTM and GRU",
        gain(["lstm, 2", "gru, 2"], ["lstm, 1", "gru, 1"]),
        '"depth of at least two is beneficial"',
        f"{TEXT}, quoting Karpathy et al. 2015",
        low=0,
    ),
    Expectation(
        "units",
        "each doubling of the hidden units",
        slope({str(units): units for units in UNITS}),
        '"the more, the better"',
        CAPACITY,
        low=0,
    ),
    Expectation(
        "units",
        "1,000 units, more than the 784 inputs, over 300",
        gain(["1000"], ["300"]),
        'more than the inputs "has been observed to be beneficial"',
        CAPACITY,
        low=0,
    ),
    Expectation(
        "units",
        "2,000 units over 1,000",
        gain(["2000"], ["1000"]),
        '"a much larger value can often lead to the model overfitting"',
        CAPACITY,
        high=0,
    ),
    Expectation(
        "layers",
        "two hidden layers over one",
        gain(["2"], ["1"]),
        '"a three-layer neural net will outperform a two-layer net"',
        f"{CAPACITY}, after A. Karpathy",
        low=0,
    ),
    Expectation(
        "layers",
        "three hidden layers over two",
        gain(["3"], ["2"]),
        '"going even deeper rarely helps much more": less than half a point',
        f"{CAPACITY}, after A. Karpathy",
        high=0.005,
    ),
    Expectation(
        "minibatches",
        "each doubling of the minibatch, at one rate",
        slope({str(size): size for size in MINIBATCHES}),
        '"the accuracy of the model decreases the larger the minibatch size becomes"',
        f'{TEXT}, "Minibatch Size"',
        high=0,
    ),
    Expectation(
        "minibatches",
        "noise of the loss within the first epoch, 128 images over 8",
        gain(["128"], ["8"], "log_wiggle"),
        'the wiggle "is related to the batch size", high for few examples',
        'CS231n, "Loss function"',
        high=0,
        unit="factor",
    ),
]


# -- Training -------------------------------------------------------------------------------


@functools.cache
def study_and_data(name: str, examples: int) -> tuple[Study, Data]:
    study = load_study(name).study
    return study, load(study.data, study.split, Subset(examples=examples))


def train(name: str, point: Point, seed: int) -> dict[str, float]:
    """Trains one point of a comparison and returns what is compared."""
    torch.set_num_threads(1)
    comparison = COMPARISONS[name]
    study, data = study_and_data(comparison.study, comparison.examples)
    seed_everything(seed)
    recipe = study.recipe(optuna.trial.FixedTrial({**comparison.shared, **point}), data)
    training = Training(recipe, data, epochs=comparison.epochs, seed=seed, device="cpu")
    try:
        records = [record.values for record in training]
    except Diverged:
        return {"accuracy": GUESSING, "first": GUESSING, "diverged": 1.0}
    losses = [values["loss/valid"] for values in records]
    measures = {
        "accuracy": records[-1]["accuracy/valid"],
        "first": records[0]["accuracy/valid"],
        "accuracy_of_training": records[-1]["accuracy/train"],
        "loss": losses[-1],
    }
    if "wiggle/loss" in records[0]:
        measures["log_wiggle"] = math.log(records[0]["wiggle/loss"])
    later = losses[len(losses) // 10 :]  # all fall steeply before
    if len(later) >= 3:
        # Second differences: a loss that falls or rises evenly is smooth.
        measures["roughness"] = math.log(float(np.mean(np.abs(np.diff(later, 2)))))
    return measures


def rescue(seed: int) -> dict[str, Any]:
    """Launches the study of the dead start."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        result = launch(
            "dead_start_mnist",
            workers=1,
            seed=seed,
            storage=f"sqlite:///{place}/optuna.db",
            tracking_uri=f"sqlite:///{place}/mlflow.db",
            artifacts=str(place / "artifacts"),
            settings=Settings(checkpoints=place / "checkpoints", device="cpu"),
            preflight=False,
        )
    assert result.best is not None
    assert result.first is not None
    start = result.first.value
    return {
        "start": {"accuracy": GUESSING if start is None else start},
        "rescued": {"accuracy": result.best.value},
        "found": result.best.params,
    }


def searched_dead_start(pool: ProcessPoolExecutor) -> dict[str, Any]:
    searches = list(pool.map(rescue, SEEDS))
    for search in searches:
        print("dead start", search, flush=True)
    return {
        "study": "dead_start_mnist",
        "examples": 50_000,
        "arms": {
            arm: {"seeds": [search[arm] for search in searches]} for arm in ("start", "rescued")
        },
        "found": [search["found"] for search in searches],
    }


def compared(pool: ProcessPoolExecutor) -> dict[str, Any]:
    """Trains all comparisons: first what chooses an arm's point, then the seeds that count."""
    choices = [
        (name, arm, point)
        for name, comparison in COMPARISONS.items()
        for arm, points in comparison.arms.items()
        for point in points
        if len(points) > 1
    ]
    scores = pool.map(
        train,
        [name for name, _, _ in choices],
        [point for _, _, point in choices],
        [CHOOSING_SEED] * len(choices),
    )
    best = {
        (name, arm): (-math.inf, points[0])
        for name, comparison in COMPARISONS.items()
        for arm, points in comparison.arms.items()
    }
    for (name, arm, point), measures in zip(choices, scores, strict=True):
        print("choosing", name, point, measures["accuracy"], flush=True)
        best[name, arm] = max(best[name, arm], (measures["accuracy"], point), key=lambda b: b[0])
    runs = [(name, arm, seed) for name, arm in best for seed in SEEDS]
    done = pool.map(
        train,
        [name for name, _, _ in runs],
        [best[name, arm][1] for name, arm, _ in runs],
        [seed for _, _, seed in runs],
    )
    arms: dict[str, dict[str, Any]] = {name: {} for name in COMPARISONS}
    for (name, arm, _), measures in zip(runs, done, strict=True):
        print(name, arm, measures, flush=True)
        kept = arms[name].setdefault(arm, {"point": best[name, arm][1], "seeds": []})
        kept["seeds"].append({key: round(value, 5) for key, value in measures.items()})
    return {
        name: {
            "study": comparison.study,
            "examples": comparison.examples,
            "epochs": comparison.epochs,
            "shared": comparison.shared,
            "arms": arms[name],
        }
        for name, comparison in COMPARISONS.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        comparisons = {"dead start": searched_dead_start(pool), **compared(pool)}
    judged = [
        expectation.judged(
            {
                arm: found["seeds"]
                for arm, found in comparisons[expectation.comparison]["arms"].items()
            }
        )
        for expectation in EXPECTATIONS
    ]
    for found in judged:
        print(f"{found['verdict']}: {found['what']}: {found['mean']:.4f}", flush=True)
    print(
        write_result(
            "reproductions",
            {"seeds": len(SEEDS), "expectations": judged, "comparisons": comparisons},
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
