"""What the monitors of a trial cost: the ratio of times with and without them.

The same training is done twice at the same time, epoch by epoch and each first in turns, in one
process and one thread: as trials do it, with everything that watches it, and bare. Both tell MLflow of their curves
once a second; the watched one has more of them, and pictures. Their losses must be the same, bit
for bit. Compared is the processor's time of whole trainings, as other programs share the machine.
Expected: at most 1.05 for the perceptron and the convolutional network.

    NNSTUDY_DATA_DIR=/path/with/MNIST python benchmarks/monitors.py
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from record import write_result
from torch import nn

from nnstudy import Recipe, Split, datasets, models
from nnstudy.data import Data, load
from nnstudy.search.tracked import curves
from nnstudy.search.watching import Watch
from nnstudy.tracking import Tracker, TrialRun
from nnstudy.training import Record, Training
from nnstudy.training.seeds import seed_everything

EXPECTED = 1.05
FLUSH_SECONDS = 1.0


def perceptron(data: Data) -> nn.Module:
    return models.mlp(data.shape, [100], data.outputs)


def convnet(data: Data) -> nn.Module:
    return models.convnet(data.shape, data.outputs)


CASES: dict[str, tuple[Callable[[Data], nn.Module], int, int]] = {
    # network, epochs, pairs: epochs are even, so that each side comes first in half of them
    "perceptron": (perceptron, 10, 8),
    "convnet": (convnet, 2, 4),
}


class Side:
    """One of the two trainings, with its MLflow run and its times."""

    def __init__(self, case: str, data: Data, run: TrialRun, seed: int, *, watched: bool) -> None:
        make, epochs, _ = CASES[case]
        seed_everything(seed)
        optimizer = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
        recipe = Recipe(network=make(data), optimizer=optimizer, batch_size=128)
        self.training = Training(recipe, data, epochs=epochs, seed=seed, device="cpu")
        self.seconds = {"processor": 0.0, "wall": 0.0}
        self.pictures = 0
        self._run = run
        self._watch = Watch(self.training, data.shape, self._show) if watched else None
        self._records = iter(self.training)
        self._flushed = 0.0

    def epoch(self) -> Record | None:
        """Trains for an epoch as a trial does; None if there is none left."""
        started = time.process_time(), time.perf_counter()
        record = next(self._records, None)
        if record is not None:
            if self._watch:
                self._watch.observe(record)
            self._run.log(curves(record), step=record.step, timestamp=record.timestamp)
        wall = self.seconds["wall"] + time.perf_counter() - started[1]
        if record is None or wall - self._flushed >= FLUSH_SECONDS:
            self._flushed = wall
            self._run.flush()
        self.seconds["processor"] += time.process_time() - started[0]
        self.seconds["wall"] += time.perf_counter() - started[1]
        return record

    def _show(self, name: str, image: Any, step: int) -> None:
        self.pictures += self._run.log_image(name, image, step=step)


def measure(case: str, data: Data, tracker: Tracker, seed: int) -> dict[str, float]:
    """Trains a pair in turns."""
    experiment = tracker.experiment(case, metric="accuracy/valid")
    sides = {}
    for name in ("bare", "watched"):
        run = tracker.trial_run(
            experiment, "none", number=seed, name=name, key=f"{case}/{seed}/{name}"
        )
        sides[name] = Side(case, data, run, seed, watched=name == "watched")
    # What comes second is a little slower, even where both are bare.
    order = list(sides.values()) if seed % 2 else list(sides.values())[::-1]
    while True:
        records = [side.epoch() for side in order]
        if records[0] is None or records[1] is None:
            break
        assert records[0].values["loss/valid"] == records[1].values["loss/valid"]
        order.reverse()
    bare, watched = sides["bare"], sides["watched"]
    assert watched.pictures >= 2
    return {
        "watched": watched.seconds["processor"],
        "bare": bare.seconds["processor"],
        "wall_watched": watched.seconds["wall"],
        "wall_bare": bare.seconds["wall"],
        "curves": len(watched.training.history[-1].values),
        "pictures": watched.pictures,
    }


def summary(pairs: list[dict[str, float]]) -> dict[str, Any]:
    ratios = [pair["watched"] / pair["bare"] for pair in pairs]
    return {
        "pairs": pairs,
        "ratio": sum(pair["watched"] for pair in pairs) / sum(pair["bare"] for pair in pairs),
        "median_ratio": statistics.median(ratios),
        "least_ratio": min(ratios),
        "greatest_ratio": max(ratios),
        "wall_ratio": sum(p["wall_watched"] for p in pairs) / sum(p["wall_bare"] for p in pairs),
    }


def main() -> int:
    torch.set_num_threads(1)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    data = load(datasets.mnist, Split(validation=10_000, selection=0.0))
    cases = {}
    with tempfile.TemporaryDirectory() as directory:
        tracker = Tracker(f"sqlite:///{directory}/mlflow.db", f"{directory}/artifacts")
        measure("perceptron", data, tracker, 0)  # the first pictures import what draws them
        for case, (_, _, number) in CASES.items():
            pairs = [measure(case, data, tracker, seed) for seed in range(1, number + 1)]
            cases[case] = summary(pairs)
            print(f"{case}: {cases[case]['median_ratio']:.3f} times the bare training", flush=True)
    print(write_result("monitors", {"expected": EXPECTED, "cases": cases}))
    return 0 if all(case["median_ratio"] <= EXPECTED for case in cases.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
