"""How many trials a second several workers finish, as a multiple of what one does.

A trial sleeps and computes nothing, so that the cores are not what is measured but the work of
nnstudy for a trial (a budget to look at, a suggestion, an MLflow run, leases, the last word),
and whether workers wait for each other with it. The clock starts when all workers have
met, each with a first trial that is not counted, and stops with the last trial's last word.
Expected: at least 0.9 of the number of workers.

    python benchmarks/throughput.py
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
from record import write_result

from nnstudy import Stage, Study, datasets
from nnstudy.data import Data
from nnstudy.engines import Settings, launch

WORKERS = (1, 2, 4, 8)
EXPECTED = 0.9
SECONDS = 6.0
ROUNDS = 3

_MEETING = "NNSTUDY_BENCHMARK_MEETING"


def recipe(trial: optuna.Trial, data: Data) -> Iterator[dict[str, float]]:
    return sleep(trial.suggest_float("x", 0.0, 1.0))


def sleep(value: float) -> Iterator[dict[str, float]]:
    """A trial that sleeps; the first one of each worker lasts until all workers have one."""
    directory, _, workers = os.environ[_MEETING].rpartition(":")
    mine = Path(directory, str(os.getpid()))
    if mine.exists():
        time.sleep(SECONDS)
    else:
        mine.touch()
        while len(os.listdir(directory)) < int(workers):
            time.sleep(0.01)
    yield {"loss/valid": value}


def measure(workers: int, directory: Path, rounds: int = ROUNDS) -> float:
    """Returns the trials that so many workers finish a second."""
    meeting = directory / "meeting"
    meeting.mkdir(parents=True)
    os.environ[_MEETING] = f"{meeting}:{workers}"
    storage = f"sqlite:///{directory}/optuna.db"
    trials = workers * (1 + rounds)
    study = Study(
        "throughput",
        recipe,
        data=datasets.digits,
        metric="loss/valid",
        stages=[Stage(trials=trials, epochs=1, sampler="tpe", pruner="none")],
    )
    result = launch(
        study,
        workers=workers,
        storage=storage,
        tracking_uri=f"sqlite:///{directory}/mlflow.db",
        artifacts=str(directory / "artifacts"),
        preflight=False,
        settings=Settings(checkpoints=directory / "checkpoints", device="cpu"),
    )
    assert result.complete
    stored = optuna.load_study(study_name="throughput/search", storage=storage)
    assert len(stored.trials) == trials
    met = max(path.stat().st_mtime for path in meeting.iterdir())
    ended = max(t.datetime_complete.timestamp() for t in stored.trials if t.datetime_complete)
    return workers * rounds / (ended - met)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="trials of each worker")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        rates = {n: measure(n, Path(directory, str(n)), given.rounds) for n in WORKERS}
    ratios = {n: rate / rates[1] for n, rate in rates.items()}
    path = write_result(
        "throughput",
        {
            "expected": EXPECTED,
            "trial_seconds": SECONDS,
            "rounds": given.rounds,
            "trials_per_second": rates,
            "ratio_to_one_worker": ratios,
            "share_of_linear": {n: ratio / n for n, ratio in ratios.items()},
        },
    )
    for n, ratio in ratios.items():
        print(f"{n} workers: {rates[n]:.3f} trials/s, {ratio:.2f} times one worker's")
    print(path)
    return 0 if all(ratio >= EXPECTED * n for n, ratio in ratios.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
