"""The check of each tensor at one point."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from nnstudy.diagnostics.gradient.bands import Bands, bands
from nnstudy.diagnostics.gradient.differences import Comparison, Differences
from nnstudy.diagnostics.gradient.objective import Objective
from nnstudy.diagnostics.gradient.probes import Gradients, Probe, coordinates, together, whole
from nnstudy.diagnostics.gradient.result import GradientCheck, TensorCheck

_TINY = 1e-6  # long before the 1e-10 at which the notes begin to worry


def check_tensors(
    model: nn.Module,
    objective: Objective,
    count: int,
    seconds: float,
    generator: torch.Generator,
) -> GradientCheck:
    """Checks each tensor at the point where the parameters are.

    Args:
        model: The one of the objective.
        objective: What is differentiated.
        count: How many coordinates to check in each tensor.
        seconds: What it may take.
        generator: Draws them.
    """
    _, gradients = objective.gradients()
    largest = max((float(g.abs().max()) for g in gradients.values() if g is not None), default=0.0)
    if 0 < largest < _TINY:
        objective.scale = 2.0 ** -round(math.log2(largest))
        _, gradients = objective.gradients()
    differences = Differences(objective, generator)
    layers = sum(
        any(p.ndim >= 2 for p in module.parameters(recurse=False)) for module in model.modules()
    )
    limits = bands(layers, differences.has_kinks)
    tensors = _Tensors(objective, differences, gradients, limits, generator, _padding(model))
    # Two evaluations for each comparison.
    affordable = seconds / objective.seconds / 2 / len(objective.parameters)
    at_once = tensors.check_together() if affordable < 1 else None
    return GradientCheck(
        tensors=at_once or tensors.check_each(max(0, int(min(count, affordable - 1)))),
        frozen=tuple(name for name, p in model.named_parameters() if not p.requires_grad),
        layers=layers,
        has_kinks=differences.has_kinks,
        bands=limits,
        scale=objective.scale,
        functions=objective.custom_functions(),
        evaluations=objective.evaluations,
        together=at_once is not None,
    )


@dataclass(frozen=True)
class _Tensors:
    objective: Objective
    differences: Differences
    gradients: Gradients
    limits: Bands
    generator: torch.Generator
    padding: dict[str, int]

    def check_each(self, count: int) -> tuple[TensorCheck, ...]:
        """Checks so many coordinates of each tensor, and a direction through all of it."""
        return tuple(self._check(name, self._probes(name, count)) for name in self.gradients)

    def check_together(self) -> tuple[TensorCheck, ...] | None:
        """Checks one direction through all tensors; None if it disagrees."""
        probe = together([self._whole(name) for name in self.gradients], self.gradients)
        fine = self.limits.fine / len(self.gradients)  # the error of one tensor among so many
        comparison = self.differences.compare(probe, self.gradients, fine)
        if comparison is None or not comparison.error <= fine:
            return None
        return tuple(self._judge(name, [comparison], kinks=0) for name in self.gradients)

    def _check(self, name: str, probes: Iterable[Probe]) -> TensorCheck:
        compared: list[Comparison] = []
        kinks = 0
        for probe in probes:
            comparison = self.differences.compare(probe, self.gradients, self.limits.fine)
            if comparison is None:
                kinks += 1
                continue
            compared.append(comparison)
            if self.limits.of(comparison.error) == "wrong":
                break
        return self._judge(name, compared, kinks)

    def _judge(self, name: str, compared: list[Comparison], kinks: int) -> TensorCheck:
        worst = max(compared, key=lambda found: (found.error, abs(found.analytic)), default=None)
        return TensorCheck(
            name=name,
            worst=worst,
            band=self.limits.of(worst.error) if worst else None,
            coordinates=sum(comparison.index is not None for comparison in compared),
            kinks=kinks,
            has_gradient=self.gradients[name] is not None,
        )

    def _probes(self, name: str, count: int) -> Iterable[Probe]:
        parameter, padding = self.objective.parameters[name], self.padding.get(name)
        yield from coordinates(
            name, parameter, self.gradients[name], count, self.generator, padding=padding
        )
        if parameter.numel() > 1 or not count:
            yield self._whole(name)

    def _whole(self, name: str) -> Probe:
        return whole(
            name,
            self.objective.parameters[name],
            self.gradients[name],
            self.generator,
            padding=self.padding.get(name),
        )


def _padding(model: nn.Module) -> dict[str, int]:
    """Returns the rows of embeddings that get no gradient on purpose, by the weight's name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(module.weight)]: module.padding_idx
        for module in model.modules()
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.padding_idx is not None
    }
