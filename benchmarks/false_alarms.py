"""Pre-flight on every shipped study over several seeds: what does it say where nothing is wrong?

Each seed draws initial weights and two points of the space, to which the study's start is added
where it has one; they are checked as a launch does before it begins, within the same time.
Expected: nothing fails and nothing is warned of, but for what a study does on purpose, which
CAUSES lists.

Stand-ins, since only MNIST is at hand: for Fashion-MNIST, MNIST's files in its place; for
CIFAR-10, MNIST's digits as coloured images (3, 32, 32).

    NNSTUDY_DATA_DIR=/path/with/MNIST python benchmarks/false_alarms.py --seeds 10
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import torch
import torch.nn.functional as F
from record import write_result

from nnstudy import datasets
from nnstudy.data import Data, load
from nnstudy.data.source import Source
from nnstudy.preflight import BUDGET_SECONDS, run_preflight
from nnstudy.preflight.candidate import Search
from nnstudy.search.space import probe
from nnstudy.study import Study
from nnstudy.study.building import Conditions
from nnstudy.study.loading import load_study
from nnstudy.training.seeds import seed_everything

STUDIES = sorted((Path(__file__).parents[1] / "studies").glob("*.py"))
POINTS = 2

CAUSES = {
    ("initialisers_mnist", "loss at chance"): "compares N(0, 1) weights, which start too large",
    ("initialisers_mnist", "dead layers"): "compares N(0, 1) weights, which saturate units",
    ("losses_digits", "outputs"): "compares the quadratic loss over sigmoids, which learns slowly",
}
"""What studies do on purpose, and pre-flight is right to point out."""


def stand_in(study: Study, directory: Path) -> Study:
    """Returns the study, with other data where its own cannot be had."""
    if study.data is datasets.fashion_mnist:
        raw = directory / "FashionMNIST" / "raw"
        raw.parent.mkdir(parents=True, exist_ok=True)
        if not raw.exists():
            raw.symlink_to(Path(os.environ["NNSTUDY_DATA_DIR"]).resolve() / "MNIST" / "raw")
        return replace(study, data=lambda: datasets.fashion_mnist(directory))
    if study.data is datasets.cifar10:
        return replace(study, data=coloured_digits)
    return study


def coloured_digits() -> Source:
    """MNIST's digits on 32 x 32 pixels, each in a colour of its own on another one."""
    source = datasets.mnist()
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(2, len(source.examples), 3, 1, 1, generator=generator)
    images = torch.cat(list(source.examples.raw_inputs()))
    ink = F.pad(images, (2, 2, 2, 2)).float()
    made = torch.empty(len(images), 3, 32, 32, dtype=torch.uint8)
    for chunk in torch.arange(len(images)).split(5000):
        front, back = colours[:, chunk]
        made[chunk] = (ink[chunk] * (0.5 + front / 2) + (255 - ink[chunk]) * back / 2).byte()
    return datasets.tensors(made, source.examples.targets, name="coloured digits")


def points(study: Study, data: Data, seed: int) -> list[Mapping[str, Any]]:
    """The start and some points of the space."""
    asking = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    starts = study.start_points[:1]
    for start in starts:
        asking.enqueue_trial(start)
    drawn = []
    for number in range(len(starts) + POINTS):
        seed_everything(seed, number)
        trial = asking.ask()
        study.recipe(trial, data)
        drawn.append(trial.params)
    return drawn


def check(path: Path, seeds: int) -> dict[str, Any]:
    """Checks one study over the seeds; returns counts of outcomes and every alarm."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    outcomes: Counter[str] = Counter()
    alarms: list[dict[str, Any]] = []
    skipped: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as directory:
        study = stand_in(load_study(str(path)).study, Path(directory))
        data = load(study.data, study.split)
        metric, direction = study.objective(data.task)
        conditions = Conditions(
            study.stages[0].epochs, metric, direction, study.validate_every, device="cpu"
        )
        space = probe(lambda trial: study.recipe(trial, data), starts=study.start_points)
        asked = {name: p.distributions for name, p in space.parameters.items()}
        for seed in range(seeds):
            report = run_preflight(
                study,
                data,
                conditions,
                points=points(study, data, seed),
                search=Search(asked, probes=50),
            )
            for result in report.results:
                outcomes[result.outcome] += 1
                skipped[result.check] += result.outcome == "skipped"
                if result.outcome in ("failed", "warned"):
                    alarms.append(
                        {
                            "seed": seed,
                            "check": result.check,
                            "outcome": result.outcome,
                            "found": result.found,
                            "cause": CAUSES.get((study.name, result.check)),
                        }
                    )
    return {"outcomes": dict(outcomes), "skipped": dict(+skipped), "alarms": alarms}


def check_apart(path: Path, seeds: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--study", str(path), "--seeds", str(seeds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--study", type=Path, help="check one study in this process")
    given = parser.parse_args()
    if given.study:
        print(json.dumps(check(given.study, given.seeds)))
        return 0
    studies: dict[str, Any] = {}
    for first in range(0, len(STUDIES), given.processes):
        paths = STUDIES[first : first + given.processes]
        for path, child in [(path, check_apart(path, given.seeds)) for path in paths]:
            output = child.communicate()[0]
            if child.returncode:
                raise SystemExit(f"the checks of {path.stem} failed")
            studies[path.stem] = json.loads(output.splitlines()[-1])
            print(path.stem, studies[path.stem]["outcomes"], flush=True)
            for alarm in studies[path.stem]["alarms"]:
                print("  ", alarm, flush=True)
    false = [a for found in studies.values() for a in found["alarms"] if not a["cause"]]
    figures = {"expected": 0, "seeds": given.seeds, "budget_seconds": BUDGET_SECONDS}
    path = write_result("false_alarms", {**figures, "studies": studies, "false": len(false)})
    print(f"{len(false)} false alarms; {path}")
    return 1 if false else 0


if __name__ == "__main__":
    sys.exit(main())
