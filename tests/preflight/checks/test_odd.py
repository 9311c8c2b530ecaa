"""Whatever a recipe is like, each check answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnstudy import datasets
from nnstudy.data import Data, Split, load
from nnstudy.errors import UserError
from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.result import Check, Result
from tests.preflight.checks.candidates import clouds, line, plain
from tests.preflight.checks.test_shipped import CHECKS


class Two(nn.Linear):
    """Returns a tuple, which only its own loss can read."""

    def forward(self, inputs: Tensor) -> Any:
        return super().forward(inputs), inputs


class Cut(nn.Linear):
    """No gradient comes from behind it."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).detach()


def likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
    mean, log_variance = outputs[:, :1], outputs[:, 1:]
    return F.gaussian_nll_loss(mean, targets, log_variance.exp())


def alike(data: Data) -> Data:
    return replace(data, train=data.train.with_targets(torch.zeros_like(data.train.targets)))


ODD: dict[str, Callable[[], Candidate]] = {
    "a mean and a variance": lambda: plain(
        line(), network=lambda _: nn.Linear(5, 2), loss=likelihood
    ),
    "a tuple": lambda: plain(
        clouds(), network=lambda _: Two(8, 3), loss=lambda o, t: F.cross_entropy(o[0], t)
    ),
    "no gradient": lambda: plain(clouds(), network=lambda _: Cut(8, 3)),
    "targets alike": lambda: plain(alike(line())),
    "one class": lambda: plain(alike(clouds())),
    "few examples": lambda: plain(
        load(
            datasets.tensors(torch.randn(8, 4), torch.arange(8) % 2),
            Split(validation=2, test=2, selection=0.5),
        )
    ),
    "biases alone": lambda: plain(
        clouds(features=3), network=lambda _: Shift(), weight_decay=0.1, batch_size=1
    ),
    "a loss that is no number": lambda: plain(clouds(), loss=lambda o, t: o.sum() * float("nan")),
    "a loss of nothing": lambda: plain(clouds(), loss=lambda o, t: (o * 0).sum()),
}


class Shift(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.bias


@pytest.mark.parametrize("name", ODD)
def test_every_check_answers(name: str) -> None:
    for check in CHECKS:
        results = answers(check, ODD[name]())
        assert results
        assert all(result.check == check.name and result.found for result in results)


def answers(check: Check, candidate: Candidate) -> list[Result]:
    """Asks as pre-flight does: what a user can put right is a question skipped."""
    try:
        return check.run(candidate)
    except UserError as error:
        return [Result(check.name, check.kind, "skipped", str(error))]
