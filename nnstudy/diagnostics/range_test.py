"""The learning-rate range test: what the loss does while the rate grows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nnstudy.diagnostics.constant_answer import constant_answer_loss
from nnstudy.diagnostics.undisturbed import undisturbed
from nnstudy.errors import UserError

Minibatch = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]

# What the loss is before any step is measured on so many at least.
MINIBATCHES_BEFORE = 20
EXAMPLES_BEFORE = 500
SMOOTHING = 0.95


@dataclass(frozen=True)
class RangeTest:
    """What the loss did while the rate grew.

    Attributes:
        rates: The rate of each step.
        losses: The loss of each step's minibatch, before the step.
        before: The mean loss of some minibatches before any step.
        noise: The standard deviation of these.
        error: The standard error of ``before``.
        constant: The least loss of an answer that does not depend on the input, see
            ``constant_answer_loss``; None where it is not known.
        exploded: Whether the test ended early, since the loss exploded.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    before: float
    noise: float
    error: float
    constant: float | None
    exploded: bool

    @property
    def reference(self) -> float:
        """Where a fall of the loss begins to tell that something of the inputs is learnt."""
        return self.before if self.constant is None else min(self.before, self.constant)


def learning_rate_range_test(
    model: nn.Module,
    optimizer: Optimizer,
    loss: Loss,
    minibatches: Iterable[Minibatch],
    *,
    low: float = 1e-5,
    high: float = 10.0,
    steps: int = 400,
    multiple: float = 4.0,
    after_backward: Callable[[], object] | None = None,
) -> RangeTest:
    """Trains some minibatches while the learning rate grows, and takes all of it back.

    Smith 2017 ("Cyclical learning rates for training neural networks", section 3.3) lets the
    rate grow and looks where learning begins and where it ends. Here it grows exponentially,
    as S. Gugger has it ("How do you find a good learning rate", 2018,
    https://sgugger.github.io/how-do-you-find-a-good-learning-rate.html, and fastai): step i of
    n is taken with the rate ``low * (high / low) ** (i / (n - 1))``. The test ends early where
    the loss, smoothed as there with bias correction,

        a_i = β a_{i-1} + (1 - β) loss_i        s_i = a_i / (1 - β^{i+1})        β = 0.95

    is above ``multiple`` times (4) its least so far, and above what it was before any step,
    or no number. (The second condition is ours: a loss close to zero doubles by chance.)

    It works in any loop::

        test = learning_rate_range_test(model, optimizer, loss, loader)
        print(suggest_rates([test]))

    Model, optimizer and random generators are left as they were. Parameter groups keep the
    proportions of their rates; the largest is the one that grows.

    Args:
        model: What is trained, in training mode.
        optimizer: Its optimizer.
        loss: Takes ``(outputs, targets)`` and returns the mean over a minibatch.
        minibatches: ``(inputs, targets)``, on the model's device; gone through again when
            they are used up.
        low: The first rate.
        high: The last rate.
        steps: Number of steps.
        multiple: The loss has exploded where it is more than so many times its least.
        after_backward: Called between the gradient and the step, to clip the gradient say.

    Raises:
        UserError: If a number cannot be meant, there are too few minibatches and they cannot
            be gone through again, or the loss is no finite number before any step.
    """
    if not 0 < low < high < math.inf:
        raise UserError(f"the lowest rate must be above 0 and below the highest: {low:g}, {high:g}")
    if steps < 2:
        raise UserError(f"a range test needs at least 2 steps, got {steps}")
    if not multiple > 1:
        raise UserError(f"a range test's multiple must be above 1, got {multiple:g}")
    with undisturbed(model, optimizer):
        model.train()
        endless = _repeated(minibatches)
        before = _before_any_step(model, loss, endless)
        rates = tuple(low * (high / low) ** (i / (steps - 1)) for i in range(steps))
        step = _Step(model, optimizer, loss, after_backward)
        losses: list[float] = []
        average, least = 0.0, math.inf
        for rate, (inputs, targets) in zip(rates, endless, strict=False):
            losses.append(step(rate, inputs, targets))
            average = SMOOTHING * average + (1 - SMOOTHING) * losses[-1]
            smoothed = average / (1 - SMOOTHING ** len(losses))
            least = min(least, smoothed)
            exploded = not smoothed <= max(multiple * least, before["before"])
            if exploded:
                break
    return RangeTest(rates[: len(losses)], tuple(losses), exploded=exploded, **before)


class _Before(TypedDict):
    """The attributes of a range test that are known before any step."""

    before: float
    noise: float
    error: float
    constant: float | None


def _repeated(minibatches: Iterable[Minibatch]) -> Iterator[Minibatch]:
    given = 0
    while True:
        before = given
        for minibatch in minibatches:
            given += 1
            yield minibatch
        if given == before:
            raise UserError(
                f"the minibatches of a range test ended after {given}, and cannot be gone through"
                " again: give a list or a DataLoader, or fewer steps"
                if given
                else "a range test needs minibatches, and there are none"
            )


def _before_any_step(model: nn.Module, loss: Loss, minibatches: Iterator[Minibatch]) -> _Before:
    """Measures the loss in training mode, as in the test."""
    pairs: list[Minibatch] = []
    losses: list[float] = []
    examples = 0
    with torch.no_grad():
        while len(losses) < MINIBATCHES_BEFORE or examples < EXAMPLES_BEFORE:
            inputs, targets = next(minibatches)
            outputs = model(inputs)
            losses.append(float(loss(outputs, targets)))
            pairs.append((outputs, targets))
            examples += len(targets)
    if not np.isfinite(losses).all():
        raise UserError(
            "the loss is no finite number before any step: look at inputs and initial weights first"
        )
    noise = float(np.std(losses, ddof=1))
    return {
        "before": float(np.mean(losses)),
        "noise": noise,
        "error": noise / len(losses) ** 0.5,
        "constant": _constant(loss, pairs),
    }


def _constant(loss: Loss, pairs: list[tuple[Any, Any]]) -> float | None:
    outputs, targets = zip(*pairs, strict=True)
    for values in (outputs, targets):
        if not all(isinstance(value, Tensor) for value in values):
            return None
        if len({value.shape[1:] for value in values}) > 1:
            return None
    return constant_answer_loss(loss, torch.cat(outputs), torch.cat(targets))


class _Step:
    """A step of an optimizer with a given rate."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss: Loss,
        after_backward: Callable[[], object] | None,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._loss = loss
        self._after_backward = after_backward
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        self._shares = [rate / max(rates) if max(rates) > 0 else 1.0 for rate in rates]

    def __call__(self, rate: float, inputs: Tensor, targets: Tensor) -> float:
        """Takes the step and returns the loss before it."""
        for group, share in zip(self._optimizer.param_groups, self._shares, strict=True):
            group["lr"] = rate * share
        losses: list[float] = []

        def closure() -> float:
            self._optimizer.zero_grad()
            loss = self._loss(self._model(inputs), targets)
            loss.backward()  # type: ignore[no-untyped-call] # torch has none
            if self._after_backward:
                self._after_backward()
            losses.append(float(loss.detach()))
            return losses[-1]

        self._optimizer.step(closure)
        return losses[0]
