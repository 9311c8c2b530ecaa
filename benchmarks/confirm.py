"""How often is a best configuration called where all are equal, and how often where one is better?

Scores are drawn, not trained, and put to the rule of `nnstudy confirm`. Expected: of equal
configurations one is called best in at most 5 % of the runs, whatever their number, the number of
seeds and the shape of the noise. Power is measured with five configurations of which one is
better than the others, which are equal, by a multiple of the standard deviation between seeds.

    python benchmarks/confirm.py
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import write_result
from scipy import stats

from nnstudy.search.confirmation.comparison import LEVEL, PROMISED, is_best

Scores = NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, ...]], Scores]

NOISES: dict[str, Noise] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "uniform": lambda rng, shape: rng.uniform(size=shape),
    "lognormal": lambda rng, shape: rng.lognormal(size=shape),
    "lognormal, to bad scores": lambda rng, shape: -rng.lognormal(size=shape),
    "accuracy of 30 examples": lambda rng, shape: rng.binomial(30, 0.97, shape) / 30,
    "normal, two of fivefold spread": lambda rng, shape: (
        rng.normal(size=shape) * np.where(np.arange(shape[-2]) < 2, 5.0, 1.0)[:, None]
    ),
}
CONFIGURATIONS = range(2, 11)
SEEDS = range(3, 11)
POWER_CONFIGURATIONS = 5
POWER_SEEDS = (3, 5, 10, 20)
DIFFERENCES = np.arange(0.0, 4.01, 0.25)


def share(called: NDArray[np.bool_]) -> dict[str, Any]:
    """A share of runs with its interval of 95 % (Clopper and Pearson)."""
    found = stats.binomtest(int(called.sum()), called.size).proportion_ci(method="exact")
    return {"value": float(called.mean()), "interval_95": [float(found.low), float(found.high)]}


def errors(runs: int) -> list[dict[str, Any]]:
    """The share of runs in which a best one of equal configurations is called."""
    return [
        {
            "noise": name,
            "configurations": configurations,
            "seeds": seeds,
            **share(is_best(noise(_generator(name, seeds), (runs, configurations, seeds)))),
        }
        for name, noise in NOISES.items()
        for configurations in CONFIGURATIONS
        for seeds in SEEDS
    ]


def power(runs: int) -> dict[str, list[dict[str, Any]]]:
    """The share of runs in which the better one is called best, by seeds and difference."""
    curves = {}
    for seeds in POWER_SEEDS:
        noise = _generator("power", seeds).normal(size=(runs, POWER_CONFIGURATIONS, seeds))
        curves[str(seeds)] = [
            {"difference": float(difference), **share(_is_right(noise, difference))}
            for difference in DIFFERENCES
        ]
    return curves


def _is_right(noise: Scores, difference: float) -> NDArray[np.bool_]:
    scores = noise.copy()
    scores[:, 0] += difference
    return is_best(scores) & (scores.mean(-1).argmax(-1) == 0)


def _generator(name: str, seeds: int) -> np.random.Generator:
    return np.random.default_rng((zlib.crc32(name.encode()), seeds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    found = errors(runs)
    figures = {
        "expected": PROMISED,
        "level": LEVEL,
        "runs": runs,
        "errors": found,
        "power_configurations": POWER_CONFIGURATIONS,
        "power": power(runs),
    }
    worst = max(found, key=lambda error: error["value"])
    print(f"of {len(found)} cases the worst: {worst}")
    print(f"written to {write_result('confirm', figures)}")


if __name__ == "__main__":
    main()
