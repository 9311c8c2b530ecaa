"""Whether a handful of examples can be learned by heart."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nnstudy.models import initialise
from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.checks.probing import (
    backward,
    constant_answer,
    draw,
    lowest_loss,
    parameter_count,
    uninformed_outputs,
)
from nnstudy.preflight.result import Check, Result
from nnstudy.training.evaluation import count_correct, counts_answers
from nnstudy.training.recipe import Loss, Recipe

EXAMPLES = 20
"""CS231n, "Learning", section "Before learning: sanity checks": "e.g. 20 examples"."""

SHARE_OF_CHANCE = 0.01
"""Of the loss at chance may be left; CS231n asks for zero cost, which no logistic loss reaches."""

STEPS = 300
"""Of each rate. The shipped studies' networks need 5 to 60."""

SECONDS = 10.0
"""Processor time, after which a network that is large for its device is given up; no failure."""

_EVALUATION_EVERY = 25

NUMBERS_PER_ANSWER = 2
"""Parameters for each number to be learned by heart, below which there are fewer examples.

A linear model can be made to give any n outputs if it has n parameters; twice as many keep the
problem from being too ill-conditioned for a few hundred steps.
"""

SWEEP = (
    # Rprop moves each weight by a step of its own that grows and shrinks with the agreement of
    # successive signs, so that neither the scale of the loss nor of the gradient matters. It
    # needs the same examples at each step, which is what there is here.
    ("Rprop 0.01", partial(torch.optim.Rprop, lr=0.01)),
    ("Rprop 0.001", partial(torch.optim.Rprop, lr=0.001)),
    ("Adam 0.01", partial(torch.optim.Adam, lr=0.01)),
    ("Adam 0.001", partial(torch.optim.Adam, lr=0.001)),
)
"""Optimizers and rates of the check's own; never the sampled ones, which may be bad on purpose."""

_ADVICE = (
    "Something between inputs and loss keeps the network from learning: a softmax or sigmoid too"
    " many before the loss, parameters that get no or a wrong gradient, a layer whose units are"
    " all dead, outputs in another order than the targets, the same inputs with different"
    " targets. Look at the other checks first, then train on two examples and follow the loss."
)
_BAD_WEIGHTS = (
    "With the same layers and initial weights after Glorot and Bengio (2010) they are learned by"
    " heart, so the initial weights of this point of the space are to blame: too large, and units"
    " are saturated or dead from the start; all alike, and units stay alike."
)
_result = partial(Result, "overfitting", "code")


def run(candidate: Candidate) -> list[Result]:
    """Trains on twenty examples until they are known by heart.

    Neither regularisation nor dropout nor augmentation is in the way, and the rates are the
    check's own. Known by heart means that the loss is below 1 % of the loss at chance and that
    all answers are right. The loss is counted from the lowest that any outputs can have, which
    smoothed labels put above zero; chance is, for numbers, always answering their mean.

    A network that fails with its own initial weights but passes with Glorot's is no wrong code:
    then a bad initialisation is warned of. A small network gets fewer examples.
    """
    handful = _draw(candidate)
    if len(handful.targets) < 2:
        return [_result("skipped", "the examples drawn all have the same inputs")]
    if not math.isfinite(handful.chance):
        return [_result("skipped", f"the loss at chance is {handful.chance}")]
    if handful.chance <= handful.lowest and candidate.data.task != "classification":
        what = f"the loss of a constant answer, {handful.chance:.4g}, leaves nothing to be learned"
        return [_result("skipped", what)]
    ends = time.thread_time() + SECONDS
    learned = handful.learn(candidate.plain_recipe, ends)
    found = handful.describe(learned)
    made = partial(_result, figures=asdict(learned), params=candidate.params)
    if learned.is_by_heart:
        return [made("passed", found)]
    if time.thread_time() < ends:
        anew = handful.learn(lambda: _initialised_anew(candidate.plain_recipe()), ends)
        if anew.is_by_heart:
            return [made("warned", found, _BAD_WEIGHTS)]
    if time.thread_time() >= ends:
        return [made("skipped", f"{found}; that is all that {SECONDS:.0f} s were enough for")]
    return [made("failed", found, _ADVICE)]


@dataclass(frozen=True)
class _Learned:
    """How far the examples were learned: the share of the loss at chance that is left."""

    share: float
    accuracy: float | None
    steps: int
    optimizer: str

    @property
    def is_by_heart(self) -> bool:
        return self.share < SHARE_OF_CHANCE and self.accuracy in (None, 1.0)


@dataclass(frozen=True)
class _Handful:
    inputs: Tensor
    targets: Tensor
    loss: Loss
    chance: float
    lowest: float

    def learn(self, make: Callable[[], Recipe], ends: float) -> _Learned:
        """Sweeps until the examples are known; returns the best that came of it."""
        best: _Learned | None = None
        for name, make_optimizer in SWEEP:
            learned = self._train(make().network, name, make_optimizer, ends)
            if best is None or not best.share <= learned.share:
                best = learned
            if learned.is_by_heart or time.thread_time() >= ends:
                break
        assert best is not None
        return best

    def _train(
        self, network: nn.Module, name: str, make_optimizer: Callable[..., Optimizer], ends: float
    ) -> _Learned:
        optimizer = make_optimizer([p for p in network.parameters() if p.requires_grad])
        best: _Learned | None = None
        for step in range(STEPS + 1):
            outputs = network.train()(self.inputs)
            value = self.loss(outputs, self.targets)
            learned = self._judge(outputs, value, step, name)
            if step % _EVALUATION_EVERY == 0 and not learned.is_by_heart:
                with torch.no_grad():  # dropout by a function of the user's ends here only
                    outputs = network.eval()(self.inputs)
                    evaluated = self._judge(outputs, self.loss(outputs, self.targets), step, name)
                learned = evaluated if evaluated.is_by_heart else learned
            if best is None or learned.is_by_heart or not best.share <= learned.share:
                best = learned
            if learned.is_by_heart or not math.isfinite(learned.share) or time.thread_time() > ends:
                break
            optimizer.zero_grad()
            backward(value)
            optimizer.step()
        assert best is not None
        return best

    def _judge(self, outputs: Tensor, value: Tensor, step: int, name: str) -> _Learned:
        accuracy = None
        if counts_answers(outputs, self.targets):
            accuracy = int(count_correct(outputs, self.targets)) / len(self.targets)
        # A loss of classes that is below zero at chance has no scale; then answers alone count.
        span = self.chance - self.lowest
        share = (value.item() - self.lowest) / span if span > 0 else 0.0
        return _Learned(share, accuracy, step, name)

    def describe(self, learned: _Learned) -> str:
        right = "" if learned.accuracy is None else f", {learned.accuracy:.0%} of answers right"
        return (
            f"{len(self.targets)} examples: {learned.share:.1%} of the loss at chance"
            f" ({self.chance:.4g}) left{right}, after {learned.steps} steps of {learned.optimizer}"
        )


def _draw(candidate: Candidate) -> _Handful:
    """Draws as many examples as the network should be able to learn, no two with equal inputs."""
    recipe = candidate.plain_recipe()
    loss = candidate.loss(recipe)
    classes = candidate.data.task == "classification"
    draw_some = partial(draw, candidate.data.train, device=candidate.device, classes=classes)
    inputs, targets = draw_some(EXAMPLES)
    nothing = uninformed_outputs(candidate, inputs)
    answers = nothing[:1].numel()
    count = parameter_count(recipe.network) // (NUMBERS_PER_ANSWER * answers)
    inputs, targets = draw_some(min(EXAMPLES, max(2, count)))
    first = _first_of_each(inputs)
    inputs, targets = inputs[first], targets[first]
    base = constant_answer(nothing[: len(targets)], targets)
    return _Handful(
        inputs,
        targets,
        loss,
        chance=loss(base, targets).item(),
        lowest=_lowest(loss, base, targets),
    )


def _lowest(loss: Loss, outputs: Tensor, targets: Tensor) -> float:
    try:
        lowest = lowest_loss(loss, outputs, targets)
    except RuntimeError:  # a loss of probabilities, which free numbers are not
        return 0.0
    return max(0.0, lowest) if math.isfinite(lowest) else 0.0


def _first_of_each(inputs: Tensor) -> Tensor:
    _, which = torch.unique(inputs.flatten(1), dim=0, return_inverse=True)
    order = torch.arange(len(which), device=which.device)
    firsts = torch.full_like(order, len(order)).scatter_reduce_(0, which, order, "amin")
    return firsts[firsts < len(order)].sort().values


def _initialised_anew(recipe: Recipe) -> Recipe:
    initialise(recipe.network, "glorot_uniform")
    return recipe


CHECK = Check("overfitting", "code", run)
