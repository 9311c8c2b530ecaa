"""How often verdicts are right, on trainings that are labelled by other trainings.

Ten families (data, network, optimizer) are trained with rates from 1e-4 to 10, and at the
best of them with few examples, narrow networks, other initial weights, other minibatches and a
decayed rate. What a verdict says of one training is compared with what another one shows:

- rate too high, too low: a rate ten or a hundred times lower, higher, has a least validation
  loss that is 10 % lower after the same epochs; about right: neither;
- diverged: a rate ten or a hundred times lower does not;
- still improving: twice the epochs lower the least validation loss by 5 %; plateau: they lower
  it by less than 2 %, and the least training loss by less than 10 %;
- overfitting: weight decay or dropout lowers the last validation loss by 5 %; underfitting: a
  network 16 times as wide is 5 points better in training and in validation;
- bad initialisation: PyTorch's own lowers the least validation loss by 20 %;
- minibatch too noisy: one eight times as large, at the same rate, lowers it by 10 %;
- oscillating: a rate divided by ten half-way lowers the last training loss by 10 %;
- noisy first layer: another training of the family has weights less noisy by 0.1, and a least
  validation loss that is 10 % lower;
- dead and saturated units, at chance: counted on the validation set with the final weights.

Thresholds are tuned on the first five families; the others tell how good they are.

    NNSTUDY_DATA_DIR=/path/with/MNIST python benchmarks/verdicts.py
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from record import write_result
from scipy import stats
from torch import Tensor, nn

from nnstudy import Recipe, Split, Training, datasets, models, schedules
from nnstudy.data import Data, Subset, load
from nnstudy.diagnostics import (
    ActivationMonitor,
    LossWiggle,
    UpdateRatioMonitor,
    first_layer_noise,
)
from nnstudy.diagnostics.activations import SATURATED_SLOPE
from nnstudy.diagnostics.verdicts import RULES, Course, judge
from nnstudy.training import Diverged
from nnstudy.training.seeds import seed_everything

RATES = [10 ** (power / 2) for power in range(-8, 3)]
EXAMPLES = {"digits": 1000, "mnist": 2000}
EPOCHS = {"digits": 12, "mnist": 6}
OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "adam": torch.optim.Adam,
}


@dataclass(frozen=True)
class Setup:
    """One training."""

    data: str
    network: str
    widths: tuple[int, ...]
    optimizer: str
    seed: int
    rate: float = math.nan
    epochs: int = 0
    batch: int = 32
    examples: int = 0
    initial: str = ""
    decay: float = 0.0
    dropout: float = 0.0
    decayed: bool = False


FAMILIES = {
    "tuning": [
        Setup("digits", "relu", (128,), "momentum", 1),
        Setup("digits", "tanh", (32, 32), "adam", 2),
        Setup("mnist", "bn", (64,), "momentum", 3),
        Setup("mnist", "sigmoid", (30,), "sgd", 4),
        Setup("mnist", "relu", (32, 32), "adam", 6),
    ],
    "held out": [
        Setup("mnist", "relu", (100,), "momentum", 10),
        Setup("mnist", "tanh", (64, 64), "sgd", 12),
        Setup("digits", "bn", (32, 32), "adam", 13),
        Setup("mnist", "conv", (32,), "momentum", 14),
        Setup("digits", "relu", (48, 48, 48), "adam", 16),
    ],
}


@dataclass(frozen=True)
class Run:
    """What came of a training."""

    setup: Setup
    diverged: bool
    history: list[dict[str, float]]
    noise: float | None = None
    dead: float = 0.0
    saturated: float = 0.0
    answers: tuple[int, int] = (0, 0)

    def least(self, epochs: int | None = None, curve: str = "loss/valid") -> float:
        return min((record[curve] for record in self.history[:epochs]), default=math.inf)

    def last(self, curve: str) -> float:
        return math.inf if self.diverged else self.history[-1][curve]

    def course(self, epochs: int | None = None) -> Course:
        setup = self.setup
        whole = epochs is None or epochs >= len(self.history)
        return Course(
            self.history[:epochs],
            ended="diverged" if self.diverged and whole else "epochs",
            classes=10,
            steps_per_epoch=math.ceil(setup.examples / setup.batch),
            chance_loss=math.log(10),
            decay_per_step=setup.rate * setup.decay,
            first_layer_noise=self.noise if whole else None,
        )


# -- Training -------------------------------------------------------------------------------


@functools.cache
def data_of(name: str, examples: int) -> Data:
    subset = Subset(examples=examples, valid_examples={"digits": 280, "mnist": 1000}[name])
    return load(getattr(datasets, name), Split(selection=0.0), subset)


def network_of(setup: Setup, data: Data) -> nn.Module:
    network: nn.Module
    if setup.network == "conv":
        network = models.convnet(
            data.shape, 10, (4, 8), setup.dropout, batch_norm=False, units=setup.widths[0]
        )
    else:
        normalised = setup.network == "bn"
        network = models.mlp(
            data.shape,
            setup.widths,
            10,
            "relu" if normalised else setup.network,
            setup.dropout,
            batch_norm=normalised,
        )
    if setup.initial in models.initialisers.NAMES:
        return models.initialise(network, setup.initial)
    scale = {"": 1.0, "a tenth": 0.1, "tenfold": 10.0}[setup.initial]
    with torch.no_grad():
        for weight in models.weights(network):
            weight *= scale
    return network


def train(setup: Setup) -> Run:
    data = data_of(setup.data, setup.examples)
    seed_everything(setup.seed)
    network = network_of(setup, data)
    losses: list[Tensor] = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        value = F.cross_entropy(outputs, targets)
        if torch.is_grad_enabled():
            losses.append(value.detach())
        return value

    recipe = Recipe(
        network=network,
        loss=loss,
        optimizer=partial(OPTIMIZERS[setup.optimizer], lr=setup.rate),
        schedule=schedules.step(setup.epochs / 2, 0.1) if setup.decayed else None,
        batch_size=setup.batch,
        weight_decay=setup.decay,
    )
    training = Training(recipe, data, epochs=setup.epochs, seed=setup.seed, device="cpu")
    updates = UpdateRatioMonitor(
        network, training.optimizer, steps_per_epoch=training.budget.minibatches_between
    )
    activations = ActivationMonitor(network)
    history: list[dict[str, float]] = []
    try:
        for record in training:
            wiggle = LossWiggle()
            wiggle.add(torch.stack(losses).tolist())
            losses.clear()
            values = {**record.values, **updates.values(), **activations.values()}
            if wiggle.value is not None:
                values["wiggle/loss"] = wiggle.value
            history.append({**values, "epoch": record.epoch})
    except Diverged:
        return Run(setup, True, history)
    activations.detach()
    dead, saturated, answers = counted(network, data)
    noise = first_layer_noise(network, data.shape)
    return Run(setup, False, history, noise, dead, saturated, answers)


@torch.no_grad()
def counted(network: nn.Module, data: Data) -> tuple[float, float, tuple[int, int]]:
    """Counts dead and saturated units of the worst layer, and right answers, one by one."""
    network.eval()
    inputs, targets = next(iter(data.validation.minibatches(len(data.validation))))
    dead, saturated, values = [0.0], [0.0], inputs
    for layer in network:
        before, values = values, layer(values)
        if isinstance(layer, nn.ReLU):
            units = values.amax(tuple(d for d in range(values.ndim) if d != 1))
            dead.append(float((units == 0).float().mean()))
        if isinstance(layer, (nn.Sigmoid, nn.Tanh)):
            slope, steepest = (
                torch.func.vmap(torch.func.grad(layer))(x)
                for x in (before.flatten(), torch.zeros(1))
            )
            saturated.append(float((slope < SATURATED_SLOPE * steepest).float().mean()))
    right = int((values.argmax(1) == targets).sum())
    return max(dead), max(saturated), (right, len(targets))


# -- Labels ---------------------------------------------------------------------------------

Case = tuple[Course, dict[str, bool]]


def cases(family: Setup, get: Callable[[Setup], Run]) -> Iterator[Case]:
    """Yields the trainings of a family, each with the labels that others give it."""
    epochs = EPOCHS[family.data]
    family = replace(family, examples=EXAMPLES[family.data], epochs=2 * epochs)
    ladder = [get(replace(family, rate=rate)) for rate in RATES]
    runs = list(ladder)
    for position, run in enumerate(ladder):
        lower = [ladder[other] for other in (position - 2, position - 4) if other >= 0]
        higher = ladder[position + 2 : position + 5 : 2]
        for length in (epochs, 2 * epochs):
            yield run.course(length), rate_labels(run, lower, higher, length)
        if not run.diverged:
            yield run.course(epochs), length_labels(run, epochs)
    best = min(ladder, key=lambda run: run.least(epochs)).setup
    for factor in (1, 10**0.5, 10):
        run = get(replace(best, rate=best.rate * factor))
        decayed = get(replace(run.setup, decayed=True))
        runs += [run, decayed]
        if not run.diverged:
            better = decayed.last("loss/train") < 0.9 * run.last("loss/train")
            yield run.course(), {"oscillating": better}
    for examples in (100, 300, best.examples):
        long = min(40, math.ceil(8000 / examples))
        run = get(replace(best, examples=examples, epochs=long))
        milder = [get(replace(run.setup, decay=decay)) for decay in (1e-3, 1e-2, 1e-1)]
        milder += [get(replace(run.setup, dropout=0.5))]
        runs += [run, *milder] if examples == best.examples else []
        least = min(other.last("loss/valid") for other in milder)
        yield run.course(), {"overfitting": least < 0.95 * run.last("loss/valid")}
    for width in (1, 2, 4, 16):
        run, wide = (
            get(replace(best, widths=(units,) * len(best.widths))) for units in (width, 16 * width)
        )
        better = all(
            wide.last(curve) > run.last(curve) + 0.05
            for curve in ("accuracy/train", "accuracy/valid")
        )
        yield run.course(), {"underfitting": better}
    usual = get(best)
    for initial in ("", "normal", "a tenth", "tenfold", "glorot_uniform", "he_normal"):
        run = get(replace(best, initial=initial))
        yield run.course(), {"bad initialisation": usual.least() < 0.8 * run.least()}
    for batch in (2, 4, 32, 64):
        run, larger = (get(replace(best, batch=size, epochs=epochs)) for size in (batch, 8 * batch))
        yield run.course(), {"minibatch too noisy": larger.least() < 0.9 * run.least()}
    for run in runs:
        if not run.diverged:
            yield run.course(), counted_labels(run, runs)


def rate_labels(run: Run, lower: list[Run], higher: list[Run], length: int) -> dict[str, bool]:
    if run.diverged and len(run.history) < length:
        return {"diverged": not all(other.diverged for other in lower)}
    least = 0.9 * run.least(length)
    high, low = (any(other.least(length) < least for other in many) for many in (lower, higher))
    return {
        "learning rate too high": high,
        "learning rate too low": low,
        "learning rate about right": not high and not low,
    }


def length_labels(run: Run, epochs: int) -> dict[str, bool]:
    gain = 1 - run.least() / run.least(epochs)
    train_gain = 1 - run.least(None, "loss/train") / run.least(epochs, "loss/train")
    return {
        "still improving when stopped": gain > 0.05,
        "plateau": gain < 0.02 and train_gain < 0.1,
    }


def counted_labels(run: Run, others: list[Run]) -> dict[str, bool]:
    right, answers = run.answers
    labels = {
        "at chance": stats.binomtest(right, answers, 0.1, alternative="greater").pvalue > 0.001,
        "dead units": run.dead >= 0.4,
        "saturated units": run.saturated >= 0.8,
    }
    if run.noise is not None:
        labels["noisy first layer"] = any(
            other.noise is not None
            and other.noise < run.noise - 0.1
            and other.least() < 0.9 * run.least()
            for other in others
        )
    return labels


# -- Results --------------------------------------------------------------------------------


def measure(found: list[Case]) -> dict[str, Any]:
    """Returns precision and recall of each verdict, with Wilson's 95 % intervals."""
    counts: dict[str, Counter[tuple[bool, bool]]] = defaultdict(Counter)
    for course, labels in found:
        given = {verdict.name for verdict in judge(course)}
        for name, label in labels.items():
            counts[name][name in given, label] += 1
    return {rule.name: figures(counts[rule.name]) for rule in RULES if rule.name in counts}


def figures(count: Counter[tuple[bool, bool]]) -> dict[str, Any]:
    right, false, missed = count[True, True], count[True, False], count[False, True]
    return {
        "given_rightly": right,
        "given_wrongly": false,
        "missed": missed,
        "rightly_not_given": count[False, False],
        "precision": share(right, right + false),
        "recall": share(right, right + missed),
    }


def share(part: int, whole: int) -> dict[str, Any] | None:
    if not whole:
        return None
    interval = stats.binomtest(part, whole).proportion_ci(method="wilson")
    return {"value": part / whole, "interval_95": [interval.low, interval.high]}


def remembering(directory: Path) -> Callable[[Setup], Run]:
    """Returns ``train`` with a memory, so that an interrupted benchmark goes on where it was."""
    file = directory / "runs.jsonl"
    directory.mkdir(parents=True, exist_ok=True)
    known = {}
    if file.exists():
        for line in file.read_text().splitlines():
            fields = json.loads(line)
            setup = Setup(**{**fields.pop("setup"), "widths": tuple(fields["widths"])})
            fields.pop("widths")
            known[setup] = Run(setup, **{**fields, "answers": tuple(fields["answers"])})

    def get(setup: Setup) -> Run:
        if setup not in known:
            run = known[setup] = train(setup)
            with file.open("a") as lines:
                lines.write(json.dumps({**asdict(run), "widths": setup.widths}) + "\n")
        return known[setup]

    return get


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=FAMILIES, action="append")
    parser.add_argument("--directory", type=Path, default=Path("mlruns/benchmarks/verdicts"))
    parser.add_argument("--dry-run", action="store_true", help="print, and write no result")
    options = parser.parse_args()
    torch.set_num_threads(1)
    get = remembering(options.directory)
    parts = {}
    for part in options.part or FAMILIES:
        found: list[Case] = []
        for family in FAMILIES[part]:
            found += cases(family, get)
            print(f"{part}: {family.data} {family.network} {family.optimizer}", flush=True)
        parts[part] = measure(found)
        show(part, parts[part])
    if not options.dry_run:
        print(write_result("verdicts", {"parts": parts}))
    return 0


def show(part: str, measured: dict[str, Any]) -> None:
    for name, row in measured.items():
        precision, recall = (
            f"{row[key]['value']:.2f}" if row[key] else "-" for key in ("precision", "recall")
        )
        counts = [
            row[key] for key in ("given_rightly", "given_wrongly", "missed", "rightly_not_given")
        ]
        print(f"{part:9} {name:30} precision {precision:5} recall {recall:5} {counts}")


if __name__ == "__main__":
    sys.exit(main())
