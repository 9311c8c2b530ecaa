"""Whether the order of the examples changes, and mixes what belongs together."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from nnstudy.data import Part
from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.result import Check, Result
from nnstudy.training.seeds import derived_generator

SIGMAS = 6.0
"""How far the likeness of neighbours may be from that of a shuffled order, in standard errors.

A shuffled order is beyond by chance once in a thousand million times; one sorted by class is
beyond by hundreds.
"""

_READ = 4  # minibatches whose inputs are read
_ADVICE = (
    "Minibatches in the same order, or sorted by class, are no samples of the training set: each"
    " step pulls towards the class of the hour, and batch statistics are those of one class. The"
    " data's parts shuffle by themselves; a part or a dataset of your own must take the order it"
    " is given, and must not sort, cache or batch examples on its own."
)
_result = partial(Result, "order", "code")


def run(candidate: Candidate) -> list[Result]:
    """Takes the orders of two epochs and of two seeds, and reads minibatches in one of them.

    Each is to be a permutation of all examples, no two alike. The minibatches are to hold the
    examples of that order. And neighbours in it are to be as unlike as chance has it: of n
    neighbouring pairs n * sum p_c^2 have equal classes (p_c is the share of class c), and numbers
    have no autocorrelation of lag 1.
    """
    train = candidate.data.train
    count, size = len(train), candidate.recipe().batch_size
    if count < 3:
        return [_result("skipped", f"{count} training examples have hardly an order")]
    first, second = (train.order(derived_generator(0, epoch, 1)) for epoch in (0, 1))
    other = train.order(derived_generator(1, 0, 1))
    for order in (first, second, other):
        missing = count - len(torch.unique(order))
        if len(order) != count or missing:
            found = f"an epoch has {len(order)} examples, {missing} of {count} are left out"
            return [_result("failed", found, _ADVICE)]
    for what, order in (("two epochs", second), ("two seeds", other)):
        if torch.equal(first, order):
            return [_result("failed", f"{what} have the same order", _ADVICE)]
    wrong = _misread(train, first, size)
    if wrong:
        found = f"{wrong} of the examples of {_READ} minibatches are not those that were ordered"
        return [_result("failed", found, _ADVICE, {"misread": wrong})]
    sigmas = _likeness(train.targets[first.to(train.targets.device)])
    figures = {"likeness": sigmas}
    if sigmas > SIGMAS:
        found = f"neighbours are more alike than chance has it, by {sigmas:.0f} standard errors"
        return [_result("failed", found, _ADVICE, figures)]
    return [
        _result(
            "passed",
            "the order changes from epoch to epoch and with the seed, and neighbours are as alike"
            f" as chance has it ({sigmas:+.1f} standard errors)",
            figures=figures,
        )
    ]


def _misread(train: Part, order: Tensor, size: int) -> int:
    """Counts the examples of some minibatches that are not the ones asked for."""
    size = min(size, 64)
    asked = order[: _READ * size]
    wrong = 0
    read = train.minibatches(size, asked)
    for wanted, (inputs, targets) in zip(torch.split(asked, size), read, strict=True):
        expected = train.targets[wanted.to(train.targets.device)]
        if len(targets) != len(wanted) or not torch.equal(targets, expected):
            wrong += len(wanted)
            continue
        alone = next(train.minibatches(1, wanted[-1:]))[0]
        # A dataset that transforms at random gives another input each time, which is no misreading.
        again = next(train.minibatches(1, wanted[-1:]))[0]
        if torch.equal(alone, again) and not torch.allclose(inputs[-1:], alone):
            wrong += 1
    return wrong


def _likeness(targets: Tensor) -> float:
    """Returns how much more alike neighbours are than by chance, in standard errors."""
    if targets.is_floating_point():
        numbers = targets.flatten(1)[:, 0].double()
        numbers = numbers - numbers.mean()
        spread = numbers.square().sum().item()
        if spread == 0:
            return 0.0
        correlation = (numbers[1:] * numbers[:-1]).sum().item() / spread
        return correlation * math.sqrt(len(numbers))
    shares = torch.bincount(targets).double() / len(targets)
    expected = shares.square().sum().item()
    if expected == 1:
        return 0.0
    pairs = len(targets) - 1
    equal = (targets[1:] == targets[:-1]).sum().item()
    return (equal - pairs * expected) / math.sqrt(pairs * expected * (1 - expected))


CHECK = Check("order", "code", run)
