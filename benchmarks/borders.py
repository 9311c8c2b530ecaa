"""How often is a parameter wrongly told to lie on a border, and how often is a border seen?

Searches of objectives that are known, and cost nothing: the sum or the product of what each of two
to six parameters loses by its distance from its own best value (five shapes, among them a cliff
and a plateau), with noise; some parameters have no effect. Ranges are linear, logarithmic, of
whole numbers, or choices that are numbers.

A range is wide enough if its best value lies in the inner 80 % of it; a border that is told of it
is a false alarm, as is one of a parameter without an effect. In half of the searches one range is
too narrow: its best value lies beyond an edge, by a tenth to two lengths of the range. Power is
the share of these that are told, where the parameter explains a tenth of the scores' variance
over the space or more.

    python benchmarks/borders.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, create_trial
from record import write_result
from scipy.stats import binomtest

from nnstudy.search.ranges.borders import borders
from nnstudy.search.ranges.scale import Scale

EXPECTED = 0.05
TRIALS = (20, 40, 100)
BEYOND = (0.1, 0.25, 0.5, 1.0, 2.0)
SEARCHES = {"random": {20: 1000, 40: 1000, 100: 1000}, "tpe": {20: 400, 40: 300, 100: 120}}
"""How many searches each, the same number with a range that is too narrow and without."""

Places = NDArray[np.float64]


def _bowl(x: Places, best: float) -> Places:
    return (x - best) ** 2 / max(abs(best), abs(1 - best)) ** 2


def _cusp(x: Places, best: float) -> Places:
    return np.abs(x - best) / max(abs(best), abs(1 - best))


def _cliff(x: Places, best: float) -> Places:
    """Slowly better up to the best value, then soon as bad as can be: a learning rate."""
    d = x - best
    return np.minimum(1, np.where(d < 0, 0.7 * (d / 0.8) ** 2, (d / 0.2) ** 2))


def _dip(x: Places, best: float) -> Places:
    return 1 - np.exp(-((x - best) ** 2) / (2 * 0.25**2))


def _plateau(x: Places, best: float) -> Places:
    """As bad as can be far below the best value."""
    d = x - best
    return np.minimum(1, np.where(d < 0, -2 * d, d))


SHAPES: tuple[Callable[[Places, float], Places], ...] = (_bowl, _cusp, _cliff, _dip, _plateau)
RANGES: tuple[BaseDistribution, ...] = (
    FloatDistribution(1.0, 3.0),
    FloatDistribution(1e-4, 1e-1, log=True),
    IntDistribution(10, 30),
    IntDistribution(16, 512, log=True),
    CategoricalDistribution((16, 32, 64, 128, 256, 512, 1024, 2048)),
)


@dataclass(frozen=True)
class Axis:
    """A parameter: its range and what it loses by its place in it."""

    asked: BaseDistribution
    shape: Callable[[Places, float], Places]
    is_mirrored: bool
    best: float
    weight: float

    def place(self, value: float) -> float:
        if isinstance(self.asked, CategoricalDistribution):
            return self.asked.choices.index(value) / (len(self.asked.choices) - 1)
        return Scale(self.asked).position(value)

    def loss(self, places: Places) -> Places:
        if self.is_mirrored:
            return self.shape(1 - places, 1 - self.best)
        return self.shape(places, self.best)


@dataclass(frozen=True)
class Objective:
    """The scores of a space; the higher the better."""

    axes: Sequence[Axis]
    is_product: bool

    def scores(self, places: Places) -> Places:
        losses = [axis.loss(places[:, i]) for i, axis in enumerate(self.axes)]
        weights = np.array([axis.weight for axis in self.axes])
        if self.is_product:
            factors = [
                1 - np.minimum(0.98, w * loss)
                for w, loss in zip(weights / weights.max(), losses, strict=True)
            ]
            return np.prod(factors, axis=0)
        return -np.sum([w * loss for w, loss in zip(weights, losses, strict=True)], axis=0)

    def explained(self, noise: float) -> tuple[list[float], float]:
        """Returns the share of the variance by each axis alone, and the noise's own scale."""
        places = np.random.default_rng(0).random((2000, len(self.axes)))
        scores = self.scores(places)
        whole = scores.var() * (1 + noise**2)
        shares = []
        for column in places.T:
            bins = (column * 20).astype(int)
            means = [scores[bins == b].mean() for b in range(20)]
            shares.append(float(np.var(means) / whole) if whole else 0.0)
        return shares, float(noise * scores.std())


def make_objective(generator: np.random.Generator, beyond: float | None) -> Objective:
    """Draws an objective; the range of the first parameter ends ``beyond`` before its best value."""
    count = int(generator.integers(2, 7))
    weights = generator.exponential(1.0, count)
    weights[generator.random(count) < 0.25] = 0.0
    best = generator.uniform(0.1, 0.9, count)
    if beyond is not None or not weights.any():
        weights[0] = max(0.2, generator.exponential(1.0))
    if beyond is not None:
        best[0] = 1 + beyond if generator.random() < 0.5 else -beyond
    return Objective(
        [
            Axis(
                RANGES[generator.integers(len(RANGES))],
                SHAPES[generator.integers(len(SHAPES))],
                bool(generator.random() < 0.5),
                float(at),
                float(weight),
            )
            for at, weight in zip(best, weights, strict=True)
        ],
        is_product=bool(generator.random() < 0.3),
    )


def search(
    objective: Objective, sampler: str, trials: int, noise: float, generator: np.random.Generator
) -> list[FrozenTrial]:
    """Returns the trials of a search."""
    asked = {f"x{i}": axis.asked for i, axis in enumerate(objective.axes)}
    score = _Score(objective, noise, generator)
    if sampler == "random":
        draws = [{name: _draw(a, generator) for name, a in asked.items()} for _ in range(trials)]
        return [create_trial(value=score(d), params=d, distributions=asked) for d in draws]
    made = optuna.samplers.TPESampler(seed=int(generator.integers(2**31)))
    study = optuna.create_study(sampler=made, direction="maximize")
    for _ in range(trials):
        trial = study.ask(dict(asked))
        study.tell(trial, score(trial.params))
    return study.trials


@dataclass(frozen=True)
class _Score:
    objective: Objective
    noise: float
    generator: np.random.Generator

    def __call__(self, params: Mapping[str, float]) -> float:
        axes = self.objective.axes
        places = np.array([[axis.place(params[f"x{i}"]) for i, axis in enumerate(axes)]])
        return float(self.objective.scores(places)[0] + self.generator.normal(0, self.noise))


def _draw(asked: BaseDistribution, generator: np.random.Generator) -> Any:
    if isinstance(asked, CategoricalDistribution):
        return asked.choices[generator.integers(len(asked.choices))]
    if isinstance(asked, IntDistribution):
        room = (np.log(asked.low - 0.5), np.log(asked.high + 0.5))
        if asked.log:
            return round(float(np.exp(generator.uniform(*room))))
        return int(generator.integers(asked.low, asked.high + 1))
    assert isinstance(asked, FloatDistribution)
    if asked.log:
        return float(np.exp(generator.uniform(np.log(asked.low), np.log(asked.high))))
    return float(generator.uniform(asked.low, asked.high))


class Counts:
    """How often something was told, of how many times it could have been."""

    def __init__(self) -> None:
        self._told: dict[str, list[bool]] = {}

    def add(self, what: str, *, told: bool) -> None:
        self._told.setdefault(what, []).append(told)

    def shares(self) -> dict[str, dict[str, Any]]:
        return {what: _share(sum(told), len(told)) for what, told in sorted(self._told.items())}


def _share(told: int, of: int) -> dict[str, Any]:
    interval = binomtest(told, of).proportion_ci(method="wilson")
    return {"told": told, "of": of, "share": told / of, "interval_95": list(interval)}


def measure(sampler: str, trials: int, searches: int, seed: int) -> dict[str, Any]:
    """Counts alarms over searches with one number of trials."""
    false, power = Counts(), Counts()
    for number in range(2 * searches):
        generator = np.random.default_rng((seed, trials, number))
        beyond = BEYOND[number // 2 % len(BEYOND)] if number % 2 else None
        objective = make_objective(generator, beyond)
        shares, scale = objective.explained(float(generator.choice([0.02, 0.1, 0.3])))
        done = search(objective, sampler, trials, scale, generator)
        told = {(border.parameter, border.edge) for border in borders(done, "maximize")}
        for i, axis in enumerate(objective.axes):
            edges = {edge for name, edge in told if name == f"x{i}"}
            if 0 < axis.best < 1:
                false.add("an effect" if axis.weight else "no effect", told=bool(edges))
                false.add("all", told=bool(edges))
            elif shares[i] >= 0.1:
                edge = "high" if axis.best > 1 else "low"
                power.add(f"{beyond:g}", told=edge in edges)
                power.add("all", told=edge in edges)
    return {"false": false.shares(), "power": power.shares()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers: dict[str, Any] = {}
    for sampler, searches in SEARCHES.items():
        samplers[sampler] = {}
        for trials in TRIALS:
            found = measure(sampler, trials, searches[trials], given.seed)
            samplers[sampler][str(trials)] = found
            for kind, shares in found.items():
                told = ", ".join(f"{name} {share['share']:.1%}" for name, share in shares.items())
                print(f"{sampler}, {trials} trials, {kind}: {told}", flush=True)
    path = write_result("borders", {"expected": EXPECTED, "samplers": samplers})
    print(path)
    rates = [
        s["share"] for by in samplers.values() for f in by.values() for s in f["false"].values()
    ]
    return 1 if max(rates) > EXPECTED else 0


if __name__ == "__main__":
    sys.exit(main())
