"""One example works, and does not depend on its company."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnstudy import datasets, models
from nnstudy.data import Data, Split, Subset, load
from nnstudy.preflight.checks.minibatch import CHECK
from tests.preflight.checks.candidates import clouds, line, only, plain

DATA = clouds()


def words() -> Data:
    generator = torch.Generator().manual_seed(1)
    return load(
        datasets.tensors(torch.randint(0, 50, (200, 7), generator=generator), torch.arange(200) % 4)
    )


class Recurrent(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.cell = nn.GRU(8, 16, **options)
        self.output = nn.Linear(16, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output(self.cell(self.embedding(inputs))[0][:, -1])


WORKING: dict[str, tuple[Data, Callable[[Data], nn.Module]]] = {
    "perceptron": (DATA, lambda d: models.mlp(d.shape, [16], d.outputs, dropout=0.5)),
    "batch norm": (DATA, lambda d: models.mlp(d.shape, [16], d.outputs, batch_norm=True)),
    "layer norm": (DATA, lambda d: nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 3))),
    "numbers": (line(), lambda d: models.mlp(d.shape, [16], 1)),
    "words": (words(), lambda d: Recurrent(batch_first=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", WORKING)
def test_examples_that_keep_to_themselves_pass(name: str) -> None:
    data, network = WORKING[name]
    result = only(CHECK, plain(data, network=network))
    assert result.outcome == "passed", result.found
    assert result.kind == "code"


class Mixing(nn.Sequential):
    def __init__(self, mix: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
        self._mix = mix

    def forward(self, inputs: Tensor) -> Tensor:
        return self._mix(self, super().forward(inputs))


MIXING: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "softmax over the minibatch": lambda _, outputs: outputs.softmax(0),
    "mean of the minibatch": lambda _, outputs: outputs - outputs.mean(0),
    "squeeze": lambda _, outputs: outputs.squeeze(),
    "flattened": lambda _, outputs: outputs.reshape(-1),
    "needs two": lambda _, outputs: outputs - outputs[1] * 1e-9,
    "transposed by a view": lambda _, outputs: outputs.reshape(3, -1).T,
    "a little": lambda _, outputs: outputs + 0.01 * outputs.flip(0),
    "in training only": lambda m, outputs: outputs - outputs.mean(0) if m.training else outputs,
}


@pytest.mark.parametrize("name", MIXING)
def test_examples_that_mix_are_found(name: str) -> None:
    result = only(CHECK, plain(DATA, network=lambda _: Mixing(MIXING[name])))
    assert result.outcome == "failed", result.found
    assert "dim=0" in result.advice


def test_sequences_whose_first_dimension_is_taken_for_time_are_found() -> None:
    result = only(CHECK, plain(words(), network=lambda _: Recurrent(batch_first=False)))
    assert result.outcome == "failed"


def test_a_last_minibatch_of_one_needs_a_network_that_stands_it() -> None:
    data = load(datasets.tensors(torch.randn(300, 8), torch.arange(300) % 3), Split(), Subset(examples=65))  # fmt: skip
    norm = WORKING["batch norm"][1]
    result = only(CHECK, plain(data, network=norm, batch_size=32))
    assert result.outcome == "failed"
    assert "65 training examples in minibatches of 32" in result.found
    assert "remainder" in result.advice
    assert only(CHECK, plain(data, network=norm, batch_size=33)).outcome == "passed"
    assert only(CHECK, plain(data, batch_size=32)).outcome == "passed"
