"""Schedules of learning rate and momentum, for ``Recipe(schedule=...)``.

Each function here, called with its settings, returns a function of ``(optimizer, steps)``,
which is what a recipe takes: ``Recipe(schedule=schedules.cosine())``. Lengths are in epochs and
may be fractions; rates go on from the optimizer's own. Where PyTorch has a scheduler it is
used, and any of PyTorch's will do in a recipe.

To continue a training: make the optimizer and the schedule anew, then load both their states.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

from nnstudy.errors import UserError
from nnstudy.training.recipe import Schedule, Steps
from nnstudy.training.running_schedules import (
    Momentum,
    RunningSchedule,
    Together,
    Warmup,
    adapt,
    low_point,
)

__all__ = [
    "MakeSchedule",
    "RunningSchedule",
    "adapt",
    "constant",
    "cosine",
    "exponential",
    "inverse_time",
    "low_point",
    "momentum",
    "one_cycle",
    "plateau",
    "step",
    "together",
    "warm_restarts",
    "warmup",
]

MakeSchedule = Callable[[Optimizer, Steps], Schedule]


def constant() -> MakeSchedule:
    """Keeps the rate, as ``Recipe(schedule=None)`` does; to warm up to, or as one choice."""
    return lambda optimizer, steps: ConstantLR(optimizer, factor=1.0, total_iters=0)


def step(every: float = 5, factor: float = 0.5) -> MakeSchedule:
    """Multiplies the rate by ``factor`` every so many epochs.

    Half every 5 epochs or a tenth every 20 are typical (CS231n, "Annealing the learning rate").

    Args:
        every: Epochs between two cuts.
        factor: What the rate is multiplied by.
    """
    _require(every > 0, "step(every=...)", "above 0", every)
    _require(factor > 0, "step(factor=...)", "above 0", factor)
    return lambda optimizer, steps: StepLR(optimizer, _minibatches(every, steps), factor)


def exponential(k: float) -> MakeSchedule:
    """Lets the rate decay as ``exp(-k t)``, with t in epochs, a little each minibatch.

    Args:
        k: Decay per epoch (CS231n, "Annealing the learning rate").
    """
    _require(k >= 0, "exponential(k=...)", "at least 0", k)
    return lambda optimizer, steps: ExponentialLR(optimizer, math.exp(-k / steps.per_epoch))


def inverse_time(k: float) -> MakeSchedule:
    """Lets the rate decay as ``1 / (1 + k t)``, with t in epochs, a little each minibatch.

    Args:
        k: Decay per epoch (CS231n, "Annealing the learning rate").
    """
    _require(k >= 0, "inverse_time(k=...)", "at least 0", k)

    def make(optimizer: Optimizer, steps: Steps) -> Schedule:
        return LambdaLR(optimizer, lambda done: 1 / (1 + k * done / steps.per_epoch))

    return make


def plateau(
    factor: float = 0.5, patience: int = 5, min_delta: float = 1e-4, lowest: float = 0.0
) -> MakeSchedule:
    """Cuts the rate when the validation loss stops improving.

    Args:
        factor: What the rate is multiplied by; half is the heuristic of CS231n.
        patience: Validations without improvement that are let pass; the next one cuts.
        min_delta: Improvement of the loss, as a share of it, below which it is none.
        lowest: The rate is not cut below this.
    """
    _require(0 < factor < 1, "plateau(factor=...)", "between 0 and 1", factor)
    _require(patience >= 0, "plateau(patience=...)", "at least 0", patience)
    return lambda optimizer, steps: ReduceLROnPlateau(
        optimizer, factor=factor, patience=patience, threshold=min_delta, min_lr=lowest
    )


def cosine(lowest: float = 0.0) -> MakeSchedule:
    """Lowers the rate along half a cosine, to ``lowest`` after the last minibatch.

    Args:
        lowest: The rate at the end (Loshchilov and Hutter 2017, "SGDR", without restarts).
    """
    return lambda optimizer, steps: CosineAnnealingLR(optimizer, max(1, int(steps)), lowest)


def warm_restarts(first: float = 1, factor: int = 2, lowest: float = 0.0) -> MakeSchedule:
    """Lowers the rate along half a cosine again and again (Loshchilov and Hutter 2017, "SGDR").

    At the end of each cycle, where the rate is lowest, the weights are worth keeping for an
    ensemble (Huang et al. 2017, "Snapshot ensembles"); ``low_point`` tells. With
    ``first=1, factor=2`` cycles end after 1, 3, 7, 15, ... epochs.

    Args:
        first: Epochs of the first cycle.
        factor: How many times longer each cycle is than the one before.
        lowest: The rate at the end of a cycle.
    """
    _require(first > 0, "warm_restarts(first=...)", "above 0", first)
    _require(
        factor >= 1 and factor == int(factor), "warm_restarts(factor=...)", "a whole number", factor
    )
    return lambda optimizer, steps: CosineAnnealingWarmRestarts(
        optimizer, _minibatches(first, steps), int(factor), lowest
    )


def one_cycle(
    rise: float = 0.3,
    start: float = 1 / 25,
    end: float = 4e-6,
    momentum: tuple[float, float] | None = (0.85, 0.95),
) -> MakeSchedule:
    """Raises the rate to the optimizer's own and lowers it again, over the whole training.

    Smith and Topin 2018, "Super-convergence", with PyTorch's defaults. Momentum (Adam: beta1)
    moves the other way, if the optimizer has some.

    Args:
        rise: Share of the training in which the rate rises, between 0 and 1.
        start: First rate, as a share of the optimizer's.
        end: Last rate, as a share of the optimizer's.
        momentum: Lowest and highest momentum; None leaves it alone.
    """
    _require(0 < rise < 1, "one_cycle(rise=...)", "between 0 and 1", rise)
    _require(0 < start <= 1, "one_cycle(start=...)", "above 0 and at most 1", start)
    _require(0 < end <= 1, "one_cycle(end=...)", "above 0 and at most 1", end)

    def make(optimizer: Optimizer, steps: Steps) -> Schedule:
        total = max(1, int(steps))
        low, high = momentum or (0.0, 0.0)
        return OneCycleLR(
            optimizer,
            max_lr=[float(group["lr"]) for group in optimizer.param_groups],
            total_steps=total,
            # A rise of exactly one step has length 0 for PyTorch, which divides by it.
            pct_start=rise if rise * total != 1 else rise * (1 + 1e-9),
            cycle_momentum=momentum is not None and _has_momentum(optimizer),
            base_momentum=low,
            max_momentum=high,
            div_factor=1 / start,
            final_div_factor=start / end,
        )

    return make


def momentum(start: float = 0.5, end: float = 0.99, epochs: float | None = None) -> MakeSchedule:
    """Anneals the momentum (Adam: beta1) linearly, from the first minibatch to the last.

    0.5 to 0.99 over several epochs is the typical setting (CS231n, "Momentum update"). The
    notes' velocity holds the rate, ``v = mu v - lr g; w += v``; PyTorch's buffer does not,
    ``v = mu v + g; w -= lr v``. The two agree only while the rate is constant: when it changes,
    PyTorch rescales the whole velocity at once and the notes only what comes in.

    SGD with Nesterov momentum must be made with a momentum above 0, whatever it is.

    Args:
        start: Momentum of the first step.
        end: Momentum of the last step.
        epochs: How long to anneal; None: the whole training.
    """
    for name, value in (("start", start), ("end", end)):
        _require(0 <= value < 1, f"momentum({name}=...)", "at least 0 and below 1", value)
    _require(epochs is None or epochs > 0, "momentum(epochs=...)", "above 0", epochs)

    def make(optimizer: Optimizer, steps: Steps) -> Schedule:
        length = int(steps) if epochs is None else _minibatches(epochs, steps)
        return Momentum(optimizer, start, end, length)

    return make


def warmup(inner: MakeSchedule, epochs: float = 1) -> MakeSchedule:
    """Lets the rate rise linearly before another schedule begins (Goyal et al. 2017, section 2.2).

    Of w minibatches of warm-up, number t = 0, 1, ... has ``(t + 1) / (w + 1)`` of the rate that
    the other schedule begins with. That one gets the rest of the training as its length.
    Validations before its beginning do not count for a plateau.

    Args:
        inner: What comes after, for example ``cosine()``, ``plateau()`` or ``constant()``.
        epochs: Length of the warm-up.
    """
    _require(epochs >= 0, "warmup(epochs=...)", "at least 0", epochs)

    def make(optimizer: Optimizer, steps: Steps) -> Schedule:
        length = round(epochs * steps.per_epoch)
        rest = Steps(max(1, steps - length), steps.per_epoch)
        return Warmup(optimizer, adapt(inner(optimizer, rest)), length)

    return make


def together(*schedules: MakeSchedule) -> MakeSchedule:
    """Runs several schedules side by side, such as one of the rate and one of the momentum."""
    return lambda optimizer, steps: Together(
        [adapt(schedule(optimizer, steps)) for schedule in schedules]
    )


def _has_momentum(optimizer: Optimizer) -> bool:
    return any(group.get("momentum") or "betas" in group for group in optimizer.param_groups)


def _minibatches(epochs: float, steps: Steps) -> int:
    return max(1, round(epochs * steps.per_epoch))


def _require(holds: bool, argument: str, what: str, value: object) -> None:
    if not holds:
        raise UserError(f"schedules.{argument} must be {what}, got {value}")
