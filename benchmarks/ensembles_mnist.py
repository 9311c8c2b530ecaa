"""Ensembles of one search on MNIST: every way beside the single best and the mean member.

Three kinds of networks are searched: multilayer perceptrons, convolutional networks, and these
with deformed images. Members are chosen, weighed and calibrated on 5,000 of the 60,000 training
images, which no network was trained or validated on; the test images are answered once all that is
settled, and choose nothing. The default is ten members of the best trials, chosen greedily, with
the mean of their probabilities and a temperature.

Expected: the default is better than the single best network in negative log-likelihood for every
seed (both calibrated) and in test accuracy on average; 98.7 % for perceptrons, 99.6 % for
convolutional networks without deformed images, 99.7 % with them. Nielsen's vote of five
convolutional networks has 99.67 % ("Neural Networks and Deep Learning", chapter 6).

    NNSTUDY_DATA_DIR=/path/with/MNIST python benchmarks/ensembles_mnist.py --network mlp

A seed takes two cores of 2026 some 25 minutes for perceptrons, 45 for convolutional networks and 60
with deformed images, where nothing else runs; how long it took is written down.

Each seed is written down as soon as it is measured. What is there is not measured again, and a
search that was interrupted goes on where it was when the same --directory is given.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import optuna
import torch
from record import RESULTS, write_result
from scipy import stats

from nnstudy import Recipe, Split, Stage, Study, augmentation, datasets, models, schedules
from nnstudy.data import Data, Part, Subset
from nnstudy.engines import EnsembleResult, LaunchResult, Settings, ensemble, launch
from nnstudy.ensembles.answers import Answers
from nnstudy.ensembles.candidates import Candidate, Source
from nnstudy.ensembles.cross_fitting import SINGLE, one_of
from nnstudy.ensembles.pool import answers_of
from nnstudy.ensembles.predictions import Predictor, predict
from nnstudy.ensembles.selection import alone

DEFAULT = "greedy"
WAYS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "greedy, 20 bags": {"bags": 20},
    "best ten alone": {"select": "best-k"},
    "first ten": {"select": "all"},
    "greedy, mean of scores": {"combine": "logits"},
    "greedy, geometric mean": {"combine": "geometric"},
    "greedy, weighted": {"combine": "weighted"},
    "greedy, vote": {"combine": "vote"},
    "epochs of the best": {"sources": ["checkpoints"]},
    "trials and epochs": {"sources": ["top-trials", "checkpoints"]},
    "trials and averaged weights": {"sources": ["top-trials", "average"]},
}
PRUNER = {"pruner": "median", "pruner_options": {"n_startup_trials": 5, "n_warmup_steps": 4}}
SPLIT = Split(validation=10_000, selection=0.5)


@dataclass(frozen=True)
class Kind:
    """Networks of one kind.

    Attributes:
        study: How they are searched.
        target: Test accuracy that their ensembles should have.
        keep_every: Each n-th epoch's weights are kept, as candidates.
    """

    study: Study
    target: float
    keep_every: int


def perceptron(trial: optuna.Trial, data: Data) -> Recipe:
    """Two or three wide layers with dropout, trained by Adam with an annealed rate."""
    units = trial.suggest_int("units", 384, 1024, log=True)
    lr = trial.suggest_float("lr", 3e-4, 5e-3, log=True)
    return Recipe(
        network=models.mlp(
            data.shape,
            [units] * trial.suggest_int("depth", 2, 3),
            data.outputs,
            activation=trial.suggest_categorical("activation", ["relu", "gelu"]),
            dropout=trial.suggest_float("dropout", 0.2, 0.6),
            batch_norm=trial.suggest_categorical("batch_norm", [False, True]),
        ),
        optimizer=partial(torch.optim.Adam, lr=lr),
        schedule=schedules.cosine(),
        batch_size=trial.suggest_categorical("batch_size", [64, 128]),
    )


def convolutional(trial: optuna.Trial, data: Data) -> Recipe:
    """Two or three convolutions with batch norm, trained by SGD with an annealed rate."""
    lr = trial.suggest_float("lr", 0.01, 0.2, log=True)
    return Recipe(
        network=models.convnet(
            data.shape,
            data.outputs,
            channels=[32, 64, 128][: trial.suggest_int("convolutions", 2, 3)],
            units=trial.suggest_categorical("units", [128, 256]),
            dropout=trial.suggest_float("dropout", 0.2, 0.6),
        ),
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9, nesterov=True),
        schedule=schedules.cosine(),
        weight_decay=trial.suggest_float("weight_decay", 1e-5, 2e-3, log=True),
        batch_size=trial.suggest_categorical("batch_size", [64, 128]),
    )


def deformed(trial: optuna.Trial, data: Data) -> Recipe:
    """The same, with images turned, moved, sheared and bent a little, each time anew."""
    degrees = trial.suggest_float("degrees", 5.0, 15.0)
    alpha = trial.suggest_float("alpha", 10.0, 40.0, log=True)
    recipe = convolutional(trial, data)
    recipe.augmentation = augmentation.compose(
        augmentation.affine(degrees, shift=2.0, scale=(0.9, 1.1), shear=degrees),
        augmentation.elastic(alpha, sigma=5.0),
    )
    return recipe


def searched(name: str, recipe: Any, trials: int, epochs: int, start: dict[str, Any]) -> Study:
    stage = Stage(trials=trials, epochs=epochs, sampler="tpe", **PRUNER)
    return Study(name, recipe, data=datasets.mnist, split=SPLIT, stages=[stage], start=start)


# A worker loads its study from this file, by one of these names.
mlp = searched(
    "ensembles_mlp",
    perceptron,
    trials=20,
    epochs=25,
    start={"units": 768, "depth": 3, "lr": 1e-3, "dropout": 0.4, "batch_norm": True},
)
conv = searched(
    "ensembles_conv",
    convolutional,
    trials=14,
    epochs=12,
    start={"convolutions": 3, "lr": 0.05, "dropout": 0.4, "weight_decay": 5e-4},
)
conv_augmented = searched(
    "ensembles_conv_augmented",
    deformed,
    trials=12,
    epochs=16,
    start={"convolutions": 3, "lr": 0.05, "dropout": 0.3, "weight_decay": 5e-4, "degrees": 10.0},
)

KINDS = {
    "mlp": Kind(mlp, 0.987, keep_every=5),
    "conv": Kind(conv, 0.996, keep_every=3),
    "conv-augmented": Kind(conv_augmented, 0.997, keep_every=4),
}


@dataclass(frozen=True)
class Place:
    """Where a search keeps what it makes."""

    directory: Path
    keep_every: int

    def options(self) -> dict[str, Any]:
        """What a launch and an ensemble are told."""
        return {
            "storage": f"sqlite:///{self.directory}/optuna.db",
            "tracking_uri": f"sqlite:///{self.directory}/mlflow.db",
            "artifacts": str(self.directory / "artifacts"),
            "data_directory": Path(os.environ["NNSTUDY_DATA_DIR"]),
            "settings": Settings(
                checkpoints=self.directory / "checkpoints",
                keep_every=self.keep_every,
                device="cpu",
            ),
        }


class TestAnswers:
    """What candidates answer to the test images, each asked once."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._part: Part = predictor.data.open_test(lambda: None)
        self._scores: dict[str, Any] = {}

    def of(self, result: EnsembleResult) -> Answers:
        """Returns those of the candidates that an ensemble was made of."""
        pool = result.ensemble.pool
        return answers_of(
            [self._ask(candidate) for candidate in pool.candidates],
            [one.link for one in pool.outputs],
            self._part,
            self._predictor.data,
        )

    def _ask(self, candidate: Candidate) -> Any:
        if candidate.place not in self._scores:
            network = self._predictor.rebuild(candidate).network
            scores = predict(network, self._part, self._predictor.data, "cpu")
            self._scores[candidate.place] = scores.double().numpy()
        return self._scores[candidate.place]


def measure(kind: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Searches from one seed, makes all ensembles, and measures them on the test images."""
    chosen = KINDS[kind]
    place = Place(options.directory / kind / f"seed-{seed}", chosen.keep_every)
    began = time.monotonic()
    found = search(kind, seed, place, options)
    seconds = time.monotonic() - began
    ways = {
        name: ensemble(
            chosen.study.name,
            **asked,
            seed=seed,
            model=False,
            output=place.directory / "ensembles",
            **place.options(),
        )
        for name, asked in WAYS.items()
        if set(asked.get("sources", ())) <= set(get_args(Source))
    }
    # From here on nothing is chosen any more.
    asked = TestAnswers(predictor_of(ways[DEFAULT], chosen.study, place))
    return {
        "seed": seed,
        "seconds_of_search": round(seconds, 1),
        "seconds_of_training": round(found.seconds, 1),
        "trials": found.finished,
        "endings": found.endings,
        "epochs": round(found.epochs, 2),
        "single": single_networks(ways[DEFAULT], asked),
        "ways": {name: of_ensemble(result, asked) for name, result in ways.items()},
    }


def search(kind: str, seed: int, place: Place, options: argparse.Namespace) -> LaunchResult:
    quick: dict[str, Any] = (
        {"subset": Subset(examples=1000, valid_examples=500), "trials": 3, "epochs": 10}
        if options.quick
        else {}
    )
    return launch(
        f"{Path(__file__).resolve()}:{kind.replace('-', '_')}",
        workers=options.workers,
        seed=seed,
        preflight=False,
        **quick,
        **place.options(),
    )


def predictor_of(result: EnsembleResult, study: Study, place: Place) -> Predictor:
    """Rebuilds the networks of a search, with the data they were trained on."""
    from nnstudy.search.opening import load_planned_data

    given = place.options()
    data = load_planned_data(study, result.ensemble.plan, directory=given["data_directory"])
    return Predictor(study, "", data, given["settings"], Path, place.directory)


def single_networks(result: EnsembleResult, asked: TestAnswers) -> dict[str, Any]:
    """Measures the best of the search, and the best by the images that ensembles are chosen by."""
    pool, test = result.ensemble.pool, asked.of(result)
    best = int(alone(pool.answers, SINGLE.combination).argmin())
    wanted = {
        "best of the search": (0, False),
        "single best": (best, False),
        "single best, calibrated": (best, True),
    }
    told = {}
    for name, (index, calibrate) in wanted.items():
        counts = one_of(len(test), index)
        fitted = SINGLE.fit(pool.answers, counts, calibrate=calibrate)
        told[name] = fitted.predict(test).measure(test).numbers
    return told


def of_ensemble(result: EnsembleResult, asked: TestAnswers) -> dict[str, Any]:
    """Measures an ensemble, without and with its temperature, and its members' mean."""
    made, test = result.ensemble, asked.of(result)
    plain = made.procedure.fit(made.pool.answers, made.fitted.counts, calibrate=False)
    members = [
        SINGLE.fit(made.pool.answers, one_of(len(test), int(index)), calibrate=False)
        .predict(test)
        .measure(test)
        .numbers
        for index in made.indices
    ]
    weights = made.fitted.weights[made.indices]
    return {
        "members": len(members),
        "candidates": len(test),
        "mean member": {
            name: float(np.average([one[name] for one in members], weights=weights))
            for name in members[0]
        },
        "ensemble": plain.predict(test).measure(test).numbers,
        "ensemble, calibrated": made.fitted.predict(test).measure(test).numbers,
        "promised": {
            "accuracy": made.comparison.gain.mean,
            "nll": made.comparison.nll_gain.mean,
        },
    }


def summarise(kind: str, seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns means over the seeds, and by how much each way is better than the single best."""
    single = [one["single"]["single best, calibrated"] for one in seeds]
    ways = {}
    for name in seeds[0]["ways"]:
        made = [one["ways"][name]["ensemble, calibrated"] for one in seeds]
        gains = [
            ours["accuracy"] - theirs["accuracy"] for ours, theirs in zip(made, single, strict=True)
        ]
        nll_gains = [theirs["nll"] - ours["nll"] for ours, theirs in zip(made, single, strict=True)]
        ways[name] = {
            "accuracy": with_interval([one["accuracy"] for one in made]),
            "nll": with_interval([one["nll"] for one in made]),
            "gain": with_interval(gains),
            "nll_gain": with_interval(nll_gains),
            "better_nll": sum(gain > 0 for gain in nll_gains),
        }
    mean_member = [one["ways"][DEFAULT]["mean member"] for one in seeds]
    default = ways[DEFAULT]
    return {
        "target": KINDS[kind].target,
        "single best": numbers_of(single),
        "mean member": numbers_of(mean_member),
        "ways": ways,
        "holds": {
            "better_nll_for_every_seed": default["better_nll"] == len(seeds),
            "better_accuracy_on_average": default["gain"]["mean"] > 0,
            "target_reached": default["accuracy"]["mean"] >= KINDS[kind].target,
        },
    }


def numbers_of(measured: list[dict[str, float]]) -> dict[str, Any]:
    return {name: with_interval([one[name] for one in measured]) for name in ("accuracy", "nll")}


def with_interval(values: list[float]) -> dict[str, Any]:
    """Returns the mean over seeds, with Student's 95 % interval where there are several."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return {"mean": mean, "interval_95": None}
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return {"mean": mean, "interval_95": [mean - half, mean + half]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--network", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--directory", type=Path, default=Path("mlruns/benchmarks/ensembles_mnist"))
    parser.add_argument("--quick", action="store_true", help="only try whether it runs")
    options = parser.parse_args()
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    options.directory = options.directory.resolve() / ("quick" if options.quick else "")
    file = RESULTS / "ensembles_mnist.json"
    networks: dict[str, Any] = (
        json.loads(file.read_text())["networks"] if file.exists() and not options.quick else {}
    )
    for kind in options.network:
        stage = KINDS[kind].study.stages[0]
        entry = networks.setdefault(kind, {"seeds": []})
        entry |= {"trials": stage.trials, "epochs": stage.epochs, "workers": options.workers}
        for seed in range(options.seeds):
            if any(one["seed"] == seed for one in entry["seeds"]):
                continue
            done = measure(kind, seed, options)
            print(json.dumps({"network": kind, **done}), flush=True)
            entry["seeds"].append(done)
            entry["summary"] = summarise(kind, entry["seeds"])
            if not options.quick:
                write_result("ensembles_mnist", {"networks": networks})
        print(json.dumps({"network": kind, **entry["summary"]}, indent=2))
    return 0 if all(all(networks[kind]["summary"]["holds"].values()) for kind in networks) else 1


if __name__ == "__main__":
    sys.exit(main())
