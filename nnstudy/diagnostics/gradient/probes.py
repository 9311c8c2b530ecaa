"""The directions in which parameters are moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Gradients = Mapping[str, Tensor | None]

_MOST = 100.0  # times as far is a tensor moved as another that is moved together with it


@dataclass(frozen=True)
class Probe:
    """A direction of norm one.

    Attributes:
        index: Of the coordinate; None for a direction through whole tensors.
        directions: For each tensor that is moved, by name.
    """

    index: tuple[int, ...] | None
    directions: Mapping[str, Tensor]

    def derivative(self, gradients: Gradients) -> float:
        """Returns the derivative in this direction; no gradient counts as zero."""
        pairs = ((gradients[name], direction) for name, direction in self.directions.items())
        return sum(float((g * direction).sum()) for g, direction in pairs if g is not None)


def coordinates(
    name: str,
    parameter: Tensor,
    gradient: Tensor | None,
    count: int,
    generator: torch.Generator,
    *,
    padding: int | None = None,
) -> Iterator[Probe]:
    """Chooses coordinates of a tensor.

    The one of largest gradient, one of zero gradient if there are such, the rest at random from
    the others.

    Args:
        name: What the tensor is called.
        parameter: The tensor.
        gradient: What backpropagation gave; None counts as zero.
        count: How many to choose.
        generator: Draws them.
        padding: A row to leave out.
    """
    flat = torch.zeros(parameter.numel()) if gradient is None else gradient.flatten().cpu()
    order = torch.randperm(len(flat), generator=generator)
    order = order[_movable(parameter, padding).flatten()[order]]
    zeros, others = order[flat[order] == 0], order[flat[order] != 0]
    if len(others):
        largest = flat.abs().argmax().reshape(1)
        others = torch.cat([largest, others[others != largest]])
    chosen = torch.cat([others[:1], zeros[:1], others[1:], zeros[1:]])[:count]
    for position in chosen.tolist():
        direction = torch.zeros(len(flat), dtype=torch.float64)
        direction[position] = 1.0
        index = torch.unravel_index(torch.tensor(position), parameter.shape)
        yield Probe(
            tuple(map(int, index)),
            {name: direction.view(parameter.shape).to(parameter.device)},
        )


def whole(
    name: str,
    parameter: Tensor,
    gradient: Tensor | None,
    generator: torch.Generator,
    *,
    padding: int | None = None,
) -> Probe:
    """Returns a direction through all of a tensor, which finds what is wrong in a few elements.

    Its lengths in each coordinate are random, its signs those of the gradient, so that nothing
    cancels. For the arguments see ``coordinates``.
    """
    shape = parameter.shape
    lengths = 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)
    signs = torch.where(torch.rand(shape, generator=generator) < 0.5, -1.0, 1.0).double()
    if gradient is not None:
        signs = torch.where(gradient.cpu() == 0, signs, gradient.cpu().sign())
    direction = lengths * signs * _movable(parameter, padding)
    return Probe(None, {name: (direction / direction.norm()).to(parameter.device)})


def together(probes: Sequence[Probe], gradients: Gradients) -> Probe:
    """Returns a direction through several tensors, in which all have a like part if possible.

    Args:
        probes: One for each tensor.
        gradients: What backpropagation gave.
    """
    parts = [abs(probe.derivative(gradients)) for probe in probes]
    least = max(parts) / _MOST or 1.0
    lengths = [1 / max(part, least) for part in parts]
    norm = sum(length**2 for length in lengths) ** 0.5
    return Probe(
        None,
        {
            name: direction * (length / norm)
            for probe, length in zip(probes, lengths, strict=True)
            for name, direction in probe.directions.items()
        },
    )


def _movable(parameter: Tensor, padding: int | None) -> Tensor:
    movable = torch.ones(parameter.shape, dtype=torch.bool)
    if padding is not None:
        movable[padding] = False
    return movable
