"""What nnstudy adds to a bare PyTorch loop: the ratio of times for the same trials.

Every trial is trained twice in the same process, one after the other: by a worker of nnstudy
with everything on (TPE, median pruner, MLflow, checkpoints, update ratios), and by a loop
written by hand with the same minibatches that does nothing but train and validate. Their final
losses must agree. Expected: at most 1.15 for the perceptron and the convolutional network.

    NNSTUDY_DATA_DIR=/path/with/MNIST python benchmarks/overhead.py --processes 2
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch
import torch.nn.functional as F
from record import write_result

from nnstudy import Recipe, Split, Stage, Study, datasets, models
from nnstudy.data import Data
from nnstudy.engines import LaunchOptions, Settings
from nnstudy.engines.preparation import Preparation
from nnstudy.engines.storing import store_stage
from nnstudy.search.budget import Budget, claim
from nnstudy.search.events import ignore
from nnstudy.search.interruption import Interruption
from nnstudy.search.leases import Leases
from nnstudy.search.opening import open_work
from nnstudy.search.patience import Patience
from nnstudy.search.trial_life import TrialLife
from nnstudy.search.worker import worker_name
from nnstudy.training.evaluation import evaluation_batch_size
from nnstudy.training.seeds import derived_generator, seed_everything

EXPECTED = 1.15


def perceptron(trial: optuna.Trial, data: Data) -> Recipe:
    return Recipe(
        network=models.mlp(data.shape, [100], data.outputs),
        optimizer=partial(torch.optim.SGD, lr=trial.suggest_float("lr", 0.01, 0.1, log=True)),
        batch_size=128,
    )


def convnet(trial: optuna.Trial, data: Data) -> Recipe:
    return Recipe(
        network=models.convnet(data.shape, data.outputs),
        optimizer=partial(torch.optim.SGD, lr=trial.suggest_float("lr", 0.01, 0.1, log=True)),
        batch_size=128,
    )


CASES: dict[str, tuple[Callable[[optuna.Trial, Data], Recipe], int, int]] = {
    # recipe, epochs, trials of each process
    "perceptron": (perceptron, 20, 6),
    "convnet": (convnet, 1, 2),
}


def make_study(case: str) -> Study:
    recipe, epochs, trials = CASES[case]
    return Study(
        f"overhead_{case}",
        recipe,
        data=datasets.mnist,
        split=Split(validation=10_000, selection=0.0),
        stages=[
            Stage(
                trials=trials,
                epochs=epochs,
                sampler="tpe",
                sampler_options={"n_startup_trials": 3},
                pruner="median",
                # Decides as always, but never finds enough trials to prune one.
                pruner_options={"n_startup_trials": 1, "n_min_trials": 10**6},
            )
        ],
        early_stopping=None,
    )


def bare(recipe: Recipe, data: Data, epochs: int, seed: tuple[int, ...]) -> float:
    """Trains and validates, and nothing else; returns the last validation loss."""
    network, optimizer = recipe.network, recipe.optimizer(recipe.network.parameters())
    size = evaluation_batch_size(network, torch.device("cpu"))
    valid_loss = math.nan
    for epoch in range(epochs):
        order = torch.randperm(len(data.train), generator=derived_generator(*seed, epoch, 1))
        network.train()
        total = 0.0
        for inputs, targets in data.train.minibatches(recipe.batch_size, order):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        assert math.isfinite(total)
        network.eval()
        total, correct = 0.0, 0
        with torch.inference_mode():
            for inputs, targets in data.validation.minibatches(size):
                outputs = network(inputs)
                total += F.cross_entropy(outputs, targets).item() * len(targets)
                correct += int((outputs.argmax(1) == targets).sum())
        valid_loss = total / len(data.validation)
    return valid_loss


def measure(case: str, directory: Path) -> list[dict[str, float]]:
    """Runs this process's share of the trials, each both ways."""
    torch.set_num_threads(1)
    _, epochs, trials = CASES[case]
    prepared = Preparation(make_study(case), None, options(directory), ignore)
    plan, _ = store_stage(prepared, prepared.plans[0])
    interruption = Interruption()
    work = open_work(
        prepared.study,
        plan,
        prepared.data,
        storage=prepared.storage,
        tracker=prepared.tracker,
        settings=prepared.options.settings,
        emit=ignore,
        interruption=interruption,
        patience=Patience(prepared.options.settings.patience, interruption, ignore),
    )
    leases = Leases(prepared.storage, worker_name())
    pairs = []
    for _ in range(trials):
        started = time.perf_counter()
        claimed = claim(work.optuna_study, Budget(10**6), leases)
        assert claimed is not None
        life = TrialLife(*claimed, work)
        ending = life.live()
        with_nnstudy = time.perf_counter() - started
        assert ending is not None
        assert ending.label == "complete", ending

        started = time.perf_counter()
        seed_everything(*life.seed)
        recipe = prepared.study.recipe(optuna.trial.FixedTrial(life.trial.params), prepared.data)
        loss = bare(recipe, prepared.data, epochs, life.seed)
        by_hand = time.perf_counter() - started
        assert life.training is not None
        theirs = life.training.history[-1].values["loss/valid"]
        assert math.isclose(loss, theirs, rel_tol=1e-5), (loss, theirs)
        pairs.append({"nnstudy": with_nnstudy, "bare": by_hand, "loss": loss})
    return pairs


def options(directory: Path) -> LaunchOptions:
    return LaunchOptions(
        workers=1,
        storage=f"sqlite:///{directory}/optuna.db",
        tracking_uri=f"sqlite:///{directory}/mlflow.db",
        artifacts=str(directory / "artifacts"),
        preflight=False,
        settings=Settings(checkpoints=directory / "checkpoints", device="cpu"),
    )


def run(case: str, processes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, __file__, "--case", case, "--directory", directory]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
        children = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
            for _ in range(processes)
        ]
        outputs = [child.communicate()[0] for child in children]
        if any(child.returncode for child in children):
            raise SystemExit(f"a process of the case {case} failed")
    pairs = [pair for output in outputs for pair in json.loads(output.splitlines()[-1])]
    ratios = [pair["nnstudy"] / pair["bare"] for pair in pairs]
    whole = sum(pair["nnstudy"] for pair in pairs) / sum(pair["bare"] for pair in pairs)
    return {
        "pairs": pairs,
        "ratio": whole,
        "median_ratio": statistics.median(ratios),
        "least_ratio": min(ratios),
        "greatest_ratio": max(ratios),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--case", choices=CASES, help="run one case's share in this process")
    parser.add_argument("--directory", type=Path)
    given = parser.parse_args()
    if given.case:
        print(json.dumps(measure(given.case, given.directory)))
        return 0
    cases = {case: run(case, given.processes) for case in CASES}
    path = write_result(
        "overhead", {"expected": EXPECTED, "processes": given.processes, "cases": cases}
    )
    for case, figures in cases.items():
        print(
            f"{case}: {figures['ratio']:.3f} times the bare loop"
            f" (median of the pairs {figures['median_ratio']:.3f},"
            f" {figures['least_ratio']:.3f} to {figures['greatest_ratio']:.3f})"
        )
    print(path)
    return 0 if all(figures["median_ratio"] <= EXPECTED for figures in cases.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
