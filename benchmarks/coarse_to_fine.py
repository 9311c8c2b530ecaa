"""Coarse to fine against random search on MNIST, with one budget of training epochs.

Each search may train 120 epochs of 5,000 examples: a perceptron whose rate, decay, width, depth,
dropout, activation and minibatch are searched over wide ranges. Random search gives each trial 12
epochs, without and with the median pruner. Coarse to fine spends 40 on trials of one epoch, up to
40 on trials of 4, and what is left on trials of 12, narrows its ranges in between, and prunes by the
same rule; its later stages draw at random too, or by TPE, as stages do by default. What is compared
is the error on the test images of the trial that was best on the 2,000 validation images.

    NNSTUDY_DATA_DIR=/path/with/MNIST python benchmarks/coarse_to_fine.py
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from record import write_result
from scipy import stats

from nnstudy import EarlyStopping, Recipe, Stage, Study, datasets, launch, models
from nnstudy.data import Data, Subset
from nnstudy.engines import Settings
from nnstudy.search.evaluation import evaluate_trial
from nnstudy.search.storage import open_storage
from nnstudy.search.stored import require_stages

BUDGET = 120
LONGEST = 12
SUBSET = Subset(examples=5000, valid_examples=2000)
PRUNED = {"pruner": "median", "pruner_options": {"n_startup_trials": 3, "n_warmup_steps": 1}}
ARMS = ("random", "random, pruned", "coarse to fine", "coarse to fine, TPE")


def recipe(trial: optuna.Trial, data: Data) -> Recipe:
    """A perceptron over wide ranges, trained by SGD with momentum."""
    lr = trial.suggest_float("lr", 1e-6, 1.0, log=True)
    units = trial.suggest_int("units", 16, 512, log=True)
    return Recipe(
        network=models.mlp(
            data.shape,
            [units] * trial.suggest_int("depth", 1, 3),
            data.outputs,
            activation=trial.suggest_categorical("activation", ["relu", "tanh", "sigmoid"]),
            dropout=trial.suggest_float("dropout", 0.0, 0.8),
        ),
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9, nesterov=True),
        weight_decay=trial.suggest_float("weight_decay", 1e-7, 1.0, log=True),
        batch_size=trial.suggest_categorical("batch_size", [16, 32, 64, 128]),
    )


def stages(arm: str) -> list[Stage]:
    if arm.startswith("random"):
        pruning: dict[str, Any] = PRUNED if arm == "random, pruned" else {"pruner": "none"}
        return [Stage("search", trials=200, epochs=LONGEST, sampler="random", **pruning)]
    later = "tpe" if arm.endswith("TPE") else "random"
    return [
        Stage("coarse", trials=40, epochs=1, sampler="random", pruner="none"),
        Stage("medium", trials=10, epochs=4, sampler=later, **PRUNED),
        Stage("fine", trials=100, epochs=LONGEST, sampler=later, **PRUNED),
    ]


# Measuring the winner again loads the study from this file, in a process that knows its arm.
study = Study(
    "mnist",
    recipe,
    data=datasets.mnist,
    stages=stages(os.environ.get("COARSE_TO_FINE_ARM", ARMS[0])),
    early_stopping=EarlyStopping(patience=4),
)


def search(data: Path, arm: str, seed: int) -> dict[str, Any]:
    """Searches once, and measures the winner on the test images."""
    os.environ["COARSE_TO_FINE_ARM"] = arm
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        settings = Settings(checkpoints=place / "checkpoints", device="cpu")
        storage, tracking = f"sqlite:///{place}/optuna.db", f"sqlite:///{place}/mlflow.db"
        result = launch(
            f"{Path(__file__).resolve()}:study",
            workers=1,
            max_epochs_total=BUDGET,
            subset=SUBSET,
            seed=seed,
            data_directory=data,
            storage=storage,
            tracking_uri=tracking,
            artifacts=str(place / "artifacts"),
            settings=settings,
            preflight=False,
        )
        test = evaluate_trial(
            open_storage(storage, create=False),
            "mnist",
            part="test",
            settings=settings,
            tracking_uri=tracking,
            data_directory=data,
        )
        narrowed = [
            f"{plan.stage}: {entry}"
            for stage in require_stages(open_storage(storage, create=False), "mnist")
            for plan in [stage.plan]
            for entry in plan.parsed_ranges().ranges
            if entry.is_changed
        ]
    assert result.best is not None
    return {
        "arm": arm,
        "seed": seed,
        "trials": result.finished,
        "endings": result.endings,
        "epochs": round(result.epochs, 3),
        "valid": result.best.value,
        "test": test.scores["accuracy"],
        "params": result.best.params,
        "narrowed": narrowed,
    }


def compare(searches: list[dict[str, Any]], one: str, other: str) -> dict[str, Any]:
    """Returns by how many points of test error one arm is better, with Welch's 95 % interval."""
    errors = [
        np.array([100 * (1 - done["test"]) for done in searches if done["arm"] == arm])
        for arm in (one, other)
    ]
    test = stats.ttest_ind(errors[1], errors[0], equal_var=False)
    low, high = test.confidence_interval(0.95)
    return {
        "better": one,
        "than": other,
        "difference": float(errors[1].mean() - errors[0].mean()),
        "interval_95": [float(low), float(high)],
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    data = Path(os.environ["NNSTUDY_DATA_DIR"])
    runs = [(arm, seed) for seed in range(given.seeds) for arm in ARMS]
    searches = []
    # A process for each search: the study's stages are chosen when its file is loaded.
    with ProcessPoolExecutor(given.processes, get_context("spawn"), max_tasks_per_child=1) as pool:
        for done in pool.map(search, [data] * len(runs), *zip(*runs, strict=True)):
            print(done, flush=True)
            searches.append(done)
    later = ARMS[2:]
    pairs = [(fine, plain) for fine in later for plain in ARMS[:2]] + [(ARMS[3], ARMS[2])]
    print(
        write_result(
            "coarse_to_fine",
            {
                "budget": BUDGET,
                "longest": LONGEST,
                "examples": SUBSET.examples,
                "seeds": given.seeds,
                "searches": searches,
                "differences": [compare(searches, one, other) for one, other in pairs],
            },
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
