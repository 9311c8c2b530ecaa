"""Whether the outputs' shape and range fit the loss."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.checks.probing import (
    as_tensor,
    constant_answer,
    draw,
    log_softmax,
    lowest_loss,
    softmax,
    squash,
    uninformed_outputs,
)
from nnstudy.preflight.result import Check, Outcome, Result
from nnstudy.training.recipe import Loss
from nnstudy.training.seeds import derived_generator

EXAMPLES = 32

OUT_OF_REACH = 0.05
"""Of the loss at chance: so much may be out of reach of the outputs.

A softmax before cross-entropy leaves 63 % of it with ten classes, sigmoids before a binary one
94 %, tanh before cross-entropy 35 %; what fits leaves nothing.
"""

FLAT = 0.01
"""The gradient at answers that are surely wrong, as a share of that at chance, that is small.

The gradient of a squared error over a sigmoid has the factor a(1 - a): 1/4 at chance, 4.5e-5
where a unit is off by 10. That of cross-entropy does not sink (Nielsen, "Neural Networks and
Deep Learning", chapter 3, "The cross-entropy cost function").
"""

_SURELY = 10.0
_SCALES = (10.0, 3.0, 1.0)
_DRAWS = 6  # that outputs without confinement are of one sign in all of them is no chance
_EXAMPLES_SCRAMBLED = 8
_TOLERANCE = 1e-4

_Finding = tuple[Outcome, str, str]
"""Outcome, what was found, advice."""


def run(candidate: Candidate) -> list[Result]:
    """Asks loss and network for what they do, not for what they are called.

    The outputs of a network that knows nothing show whether it ends in a softmax, log-softmax or
    sigmoid; those of one with large random weights show other confinements. Then the loss is brought
    as low as such outputs can bring it: where much is left, something is squashed once too
    often, or the targets are out of range.
    """
    recipe = candidate.plain_recipe()
    loss, is_class = candidate.loss(recipe), candidate.data.task == "classification"
    inputs, targets = draw(candidate.data.train, EXAMPLES, candidate.device, classes=is_class)
    with torch.no_grad():
        outputs = as_tensor(recipe.network.train()(inputs))
    result = partial(Result, "outputs", "code", params=candidate.params)
    shapes = f"outputs of shape {tuple(outputs.shape)} and targets of shape {tuple(targets.shape)}"
    if len(outputs) != len(targets):
        return [
            result(
                "failed",
                f"{len(targets)} examples have {shapes}",
                "The first dimension of the outputs must count the examples: look for a reshape,"
                " squeeze or mean over the minibatch in the network's forward.",
            )
        ]
    nothing = uninformed_outputs(candidate, inputs)
    probe = _Probe(
        loss,
        outputs,
        targets,
        confine=_confinement(nothing, _scrambled_outputs(candidate, inputs[:_EXAMPLES_SCRAMBLED])),
        chance=loss(constant_answer(nothing, targets), targets).item(),
        classes=candidate.data.classes,
    )
    findings = list(probe.misfits()) or list(probe.oddities())
    if all(outcome == "told" for outcome, *_ in findings):
        findings.insert(0, ("passed", f"{shapes} fit the loss", ""))
    return [result(*finding) for finding in findings]


@dataclass(frozen=True)
class _Probe:
    """A minibatch's outputs, what they are confined by, and their loss."""

    loss: Loss
    outputs: Tensor
    targets: Tensor
    confine: Callable[[Tensor], Tensor]
    chance: float
    classes: int | None

    def misfits(self) -> Iterator[_Finding]:
        """Yields what cannot be meant."""
        if self.classes is None and self._compares_all_with_all():
            yield (
                "failed",
                f"the loss of outputs of shape {tuple(self.outputs.shape)} and targets of shape"
                f" {tuple(self.targets.shape)} is another one when they are given equal shapes",
                "It compares each output with each target. Use losses.mean_squared_error, or give"
                " the outputs the targets' shape, (N, 1) and not (N,).",
            )
        elif self.classes is not None and self._lacks_logarithm():
            yield (
                "failed",
                "the loss expects log-probabilities, and the outputs are none: their exponentials"
                f" add up to {self.outputs[0].exp().sum().item():.3g}",
                "NLLLoss takes the outputs of a log_softmax. Use cross-entropy on outputs without"
                " softmax, or end the network in LogSoftmax.",
            )
        elif (left := self._left()) > OUT_OF_REACH:
            yield (
                "failed",
                f"{_NAMES[self.confine]} cannot bring the loss below {left:.0%} of that at chance"
                f" ({self.chance:.4g})",
                "If the loss has a softmax or sigmoid of its own, as cross_entropy,"
                " BinaryCrossEntropy and BCEWithLogitsLoss do, take that of the network away: the"
                " loss wants the numbers before it. If targets are numbers, the outputs must be"
                " able to reach them: end the network in a linear layer, or scale the targets.",
            )

    def oddities(self) -> Iterator[_Finding]:
        """Yields what can be meant."""
        if self.classes is not None and self._flatness() < FLAT:
            yield (
                "warned",
                f"a surely wrong answer has a gradient of {self._flatness():.1e} of that at chance",
                "A squared error over sigmoid or softmax outputs learns slowly where it is most"
                " wrong (Nielsen, chapter 3). Use cross-entropy, or BinaryCrossEntropy for"
                " sigmoid outputs, unless this is what you want to compare.",
            )
        if self.classes is not None and self.confine is F.softplus:
            yield (
                "warned",
                "no output is ever negative",
                "A ReLU behind the last layer: outputs below zero get no gradient, and a class"
                " whose output is dead is never learned. Take it away.",
            )
        if self._is_sum():
            yield (
                "warned",
                "the loss of the same minibatch twice is twice as large",
                "A loss is to be the mean over the minibatch (reduction='mean'); of a sum, the"
                " best learning rate depends on the minibatch size, and the curves do as well.",
            )
        if self.confine is log_softmax and self._is_shift_invariant():
            yield (
                "told",
                "log_softmax is taken by the network and by the loss, which changes nothing",
                "",
            )
        columns = self.outputs.shape[-1] if self.outputs.ndim > 1 else 1
        if self.classes is not None and columns > self.classes:
            yield ("told", f"{columns} outputs for {self.classes} classes", "")

    def _compares_all_with_all(self) -> bool:
        if self.outputs.shape == self.targets.shape or (
            self.outputs.numel() != self.targets.numel()
        ):
            return False
        value = self._loss(self.outputs)
        return not _close(value, self._loss(self.outputs.reshape(self.targets.shape)))

    def _lacks_logarithm(self) -> bool:
        # The negative log-likelihood is the one loss of classes that falls by exactly one where
        # all log-probabilities rise by one.
        if self.outputs.ndim < 2 or self.outputs.shape[-1] == 1 or self.confine is log_softmax:
            return False
        values = [self._loss(self.outputs + shift) for shift in (0.0, 1.0, 2.0)]
        return all(_close(a - b, 1.0) for a, b in itertools.pairwise(values))

    def _left(self) -> float:
        """Returns the share of the loss at chance that is out of reach."""
        if self.confine is _anything or not math.isfinite(self.chance):
            return 0.0
        try:
            free = lowest_loss(self.loss, self.outputs, self.targets)
        except RuntimeError:  # a loss of probabilities, which free numbers are not
            free = 0.0
        free = max(0.0, free) if math.isfinite(free) else 0.0
        confined = lowest_loss(self.loss, self.outputs, self.targets, self.confine)
        return (confined - free) / (self.chance - free) if self.chance > free else 0.0

    def _flatness(self) -> float:
        """Returns the gradient at surely wrong answers over that at chance."""
        if self.outputs.ndim < 2 or self.outputs.shape[-1] == 1:
            wrong = torch.where(self.targets == 1, -_SURELY, _SURELY).reshape(self.outputs.shape)
        else:
            wrong = torch.full_like(self.outputs, _SURELY)
            wrong.scatter_(1, self.targets.unsqueeze(1), -_SURELY)
        at_chance = self._gradient(torch.zeros_like(self.outputs))
        return self._gradient(wrong) / at_chance if at_chance else 1.0

    def _gradient(self, free: Tensor) -> float:
        free = free.to(self.outputs).requires_grad_()
        value = self.loss(self.confine(free), self.targets)
        if not value.requires_grad:
            return 0.0
        (gradient,) = torch.autograd.grad(value, free)
        return gradient.abs().max().item()

    def _is_sum(self) -> bool:
        once = self._loss(self.outputs)
        both = self.loss(torch.cat([self.outputs] * 2), torch.cat([self.targets] * 2)).item()
        return once != 0 and _close(both, 2 * once)

    def _is_shift_invariant(self) -> bool:
        return _close(self._loss(self.outputs), self._loss(self.outputs - 1.0))

    def _loss(self, outputs: Tensor) -> float:
        try:
            return self.loss(outputs, self.targets).item()
        except RuntimeError:  # a loss of probabilities, beyond 0 and 1
            return math.nan


@torch.no_grad()
def _scrambled_outputs(candidate: Candidate, inputs: Tensor) -> Tensor:
    """Returns outputs of networks with large random weights, as far as they stay finite."""
    network = candidate.plain_recipe().network.train()
    drawn = []
    for draw_number in range(_DRAWS):
        outputs = torch.empty(0)
        for scale in _SCALES:
            generator = derived_generator(draw_number)
            for parameter in network.parameters():
                spread = scale / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 1.0
                noise = torch.randn(parameter.shape, generator=generator) * spread
                parameter.copy_(noise)
            outputs = network(inputs)
            if outputs.isfinite().all():
                break
        drawn.append(outputs)
    return torch.cat(drawn)


def _confinement(nothing: Tensor, scrambled: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns a function to the range of a network's outputs, from any numbers."""
    found = squash(nothing)
    if found is not None:
        return found
    low, high = scrambled.min().item(), scrambled.max().item()
    if low >= -1 and high <= 1:
        return torch.sigmoid if low >= 0 else torch.tanh
    # The range of a rectifier, without its kink.
    return F.softplus if low >= 0 else _anything


_NAMES = {
    softmax: "the softmax outputs",
    log_softmax: "the log-softmax outputs",
    torch.sigmoid: "outputs between 0 and 1",
    torch.tanh: "outputs between -1 and 1",
    F.softplus: "outputs that are never negative",
}


def _anything(free: Tensor) -> Tensor:
    return free


def _close(value: float, other: float) -> bool:
    return math.isclose(value, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


CHECK = Check("outputs", "code", run)
