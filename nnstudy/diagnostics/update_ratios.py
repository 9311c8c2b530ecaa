"""The ratio of update to weight norms, per parameter tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nnstudy.errors import UserError

MEASUREMENTS_PER_EPOCH = 5


class UpdateRatioMonitor:
    """Measures by how much the optimizer's steps change the weights, relative to their size.

    For each parameter tensor ``w`` and each measured step from ``w`` to ``w'`` the ratio is
    ``|w' - w| / |w|`` in L2 norms: of the update as it was applied, with momentum, adaptive
    rates and weight decay, not of the raw gradient. A rough target is 1e-3; much less hints at
    a learning rate too low, much more at one too high (CS231n, "Learning", section "Ratio of
    weights:updates", https://cs231n.github.io/neural-networks-3/).

    It attaches itself to the optimizer and works in any loop::

        monitor = UpdateRatioMonitor(model, optimizer, steps_per_epoch=len(loader))
        for epoch in range(epochs):
            ...  # train as usual
            print(monitor.values())  # {"update_ratio/0.weight": 0.0012, ...}

    A measured step costs about as much as one more optimizer step, and the monitor holds a
    second copy of the parameters in memory; the steps between cost two empty function calls.
    Nothing waits for a GPU before ``values`` does.

    Parameters that need no gradient are left out, shared ones are measured once, those that
    the optimizer does not have not at all. One whole step of L-BFGS counts as one update.

    Attributes:
        left_out: Names of the tensors that had norm zero at all measured steps before the last
            call of ``values``, which therefore have no ratio.
    """

    left_out: tuple[str, ...] = ()

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        every: int | None = None,
        *,
        steps_per_epoch: int | None = None,
    ) -> None:
        """Attaches to an optimizer.

        Args:
            model: Gives the parameters their names.
            optimizer: Whose steps are measured.
            every: Measure the first of every so many steps, counted from the last call of
                ``values``. Give this or ``steps_per_epoch``.
            steps_per_epoch: Steps between two calls of ``values``; five of them are measured,
                evenly spaced, or all if they are fewer.

        Raises:
            UserError: If not exactly one of the two is given, it is below one, or the optimizer
                has none of the model's parameters.
        """
        if (every is None) == (steps_per_epoch is None):
            raise UserError("UpdateRatioMonitor needs either every=... or steps_per_epoch=...")
        for name, steps in (("every", every), ("steps_per_epoch", steps_per_epoch)):
            if steps is not None and steps < 1:
                raise UserError(f"UpdateRatioMonitor: {name} must be at least 1, got {steps}")
        self._measured = 1 if every else MEASUREMENTS_PER_EPOCH
        self._period: int = every or steps_per_epoch or 1
        self._model = model
        self._optimizer = optimizer
        self._steps = 0
        self._measuring = False
        self._stepped: dict[int, torch.device] = {}
        self._groups: list[_TensorGroup] = []
        self._look_again()
        if not self._groups:
            raise UserError(
                "UpdateRatioMonitor: the optimizer has none of the model's trainable parameters"
            )
        self._handles = (
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        )

    def values(self) -> dict[str, float]:
        """Returns the mean ratio of each tensor over the measured steps, and starts again.

        Returns:
            ``{"update_ratio/<name>": ratio}`` by the names of ``model.named_parameters()``.
            Steps at which a tensor had norm zero do not count for it; a tensor without others
            is missing here and named in ``left_out``. Empty if no step was measured.
        """
        self._steps = 0
        means = {name: mean for group in self._groups for name, mean in group.take_means()}
        self.left_out = tuple(name for name, mean in means.items() if mean is None)
        return {f"update_ratio/{name}": mean for name, mean in means.items() if mean is not None}

    def detach(self) -> None:
        """Removes the hooks; what was measured stays until ``values`` is called."""
        for handle in self._handles:
            handle.remove()

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        # Spaces the measured steps evenly: exactly `measured` of each `period` steps.
        self._measuring = self._steps * self._measured % self._period < self._measured
        if self._steps == 0:
            self._look_again()
        self._steps += 1
        if self._measuring:
            for group in self._groups:
                group.before_step()

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._measuring:
            self._measuring = False
            for group in self._groups:
                group.after_step()

    def _look_again(self) -> None:
        """Finds the measured tensors if parameters were frozen, unfrozen, added or moved."""
        stepped = {
            id(parameter): parameter.device
            for group in self._optimizer.param_groups
            for parameter in group["params"]
            if parameter.requires_grad and parameter.numel()
        }
        if stepped == self._stepped:
            return
        by_device: dict[torch.device, list[tuple[str, Tensor]]] = {}
        for name, parameter in self._model.named_parameters():  # names shared ones once
            if id(parameter) in stepped:
                by_device.setdefault(parameter.device, []).append((name, parameter))
        self._stepped = stepped
        self._groups = [_TensorGroup(pairs) for pairs in by_device.values()]


class _TensorGroup:
    """Parameters on one device, measured by operations on the whole list."""

    def __init__(self, pairs: Sequence[tuple[str, Tensor]]) -> None:
        self._names = [name for name, _ in pairs]
        self._parameters = [parameter for _, parameter in pairs]
        # At least single precision: differences and norms of half-precision numbers are poor.
        self._buffers = [
            torch.empty_like(p, dtype=torch.promote_types(p.dtype, torch.float32))
            for p in self._parameters
        ]
        self._norms: list[Tensor] = []

    @torch.no_grad()
    def before_step(self) -> None:
        torch._foreach_copy_(self._buffers, self._parameters)

    @torch.no_grad()
    def after_step(self) -> None:
        weights = torch._foreach_norm(self._buffers)
        torch._foreach_sub_(self._buffers, self._parameters)
        updates = torch._foreach_norm(self._buffers)
        self._norms.append(torch.stack([*weights, *updates]))

    def take_means(self) -> list[tuple[str, float | None]]:
        """Returns each name with its mean ratio, or None if its norm was always zero."""
        if not self._norms:
            return []
        norms = torch.stack(self._norms).T.tolist()  # first the weights', then the updates'
        self._norms.clear()
        pairs = zip(norms[: len(self._names)], norms[len(self._names) :], strict=True)
        return [(name, _mean_ratio(*pair)) for name, pair in zip(self._names, pairs, strict=True)]


def _mean_ratio(weights: list[float], updates: list[float]) -> float | None:
    ratios = [update / weight for weight, update in zip(weights, updates, strict=True) if weight]
    return sum(ratios) / len(ratios) if ratios else None
