"""An order that does not change, or that sorts, is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nnstudy import datasets
from nnstudy.data import Data, load
from nnstudy.data.parts import TensorPart
from nnstudy.preflight.checks.order import CHECK
from tests.preflight.checks.candidates import clouds, line, only, plain


class Disordered(TensorPart):
    """A part with a fault of its own."""

    def __init__(self, part: TensorPart) -> None:
        super().__init__(part.inputs, part.targets)


class Stored(Disordered):
    def order(self, generator: torch.Generator | None) -> Tensor:
        return torch.arange(len(self))


class Sorted(Disordered):
    def order(self, generator: torch.Generator | None) -> Tensor:
        shuffled = super().order(generator)
        return shuffled[self.targets.flatten()[shuffled].sort(stable=True).indices]


class Half(Disordered):
    def order(self, generator: torch.Generator | None) -> Tensor:
        return super().order(generator)[: len(self) // 2]


class Again(Disordered):
    def order(self, generator: torch.Generator | None) -> Tensor:
        return torch.randint(0, len(self), (len(self),), generator=generator)


class Unseeded(Disordered):
    def order(self, generator: torch.Generator | None) -> Tensor:
        epoch = 0 if generator is None else generator.initial_seed()
        return super().order(torch.Generator().manual_seed(epoch % 1))


class Deaf(Disordered):
    """Does not listen to the order."""

    def minibatches(self, batch_size: int, order: Tensor | None = None, **options: Any) -> Any:
        count = len(self) if order is None else len(order)
        return super().minibatches(batch_size, torch.arange(count), **options)


class Torn(Disordered):
    """Inputs and targets come in different orders."""

    def minibatches(self, batch_size: int, order: Tensor | None = None, **options: Any) -> Any:
        for inputs, targets in super().minibatches(batch_size, order, **options):
            yield inputs.flip(0), targets


@pytest.mark.parametrize(
    "data", [clouds(), line(), clouds(classes=2)], ids=["classes", "numbers", "two"]
)
@pytest.mark.parametrize("batch_size", [1, 32, 1000])
def test_a_shuffled_order_passes(data: Data, batch_size: int) -> None:
    result = only(CHECK, plain(data, batch_size=batch_size))
    assert result.outcome == "passed", result.found
    assert result.kind == "code"


@pytest.mark.parametrize("faulty", [Stored, Sorted, Half, Again, Unseeded, Deaf, Torn])
@pytest.mark.parametrize("data", [clouds(), line()], ids=["classes", "numbers"])
def test_an_order_that_is_none_fails(faulty: type[Disordered], data: Data) -> None:
    assert isinstance(data.train, TensorPart)
    result = only(CHECK, plain(replace(data, train=faulty(data.train))))
    assert result.outcome == "failed", result.found
    assert "own" in result.advice


def test_data_outside_memory_pass_also_where_inputs_are_drawn_at_random() -> None:
    class Drawn(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 90

        def __getitem__(self, position: int) -> Any:
            return torch.randn(4), position % 3

    data = load(datasets.from_dataset(Drawn(), memory_limit=0))
    assert only(CHECK, plain(data)).outcome == "passed"


def test_one_class_alone_has_no_neighbours_to_tell_apart() -> None:
    data = clouds()
    alone = data.train.with_targets(torch.zeros_like(data.train.targets))
    assert only(CHECK, plain(replace(data, train=alone))).outcome == "passed"
