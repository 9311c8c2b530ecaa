"""The ratio of update to weight norms, and norms of gradient and weights, per parameter tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nnstudy.errors import UserError

MEASUREMENTS_PER_EPOCH = 5
_EVERY_AT_FIRST = 10  # while nothing is known of the number of steps between two looks


class UpdateRatioMonitor:
    """Measures by how much the optimizer's steps change the weights, relative to their size.

    For each parameter tensor ``w`` and each measured step from ``w`` to ``w'`` the ratio is
    ``|w' - w| / |w|`` in L2 norms: of the update as it was applied, with momentum, adaptive
    rates and weight decay, not of the raw gradient. A rough target is 1e-3; much less hints at
    a learning rate too low, much more at one too high (CS231n, "Learning", section "Ratio of
    weights:updates", https://cs231n.github.io/neural-networks-3/).

    It attaches itself to the optimizer and works in any loop::

        monitor = UpdateRatioMonitor(model, optimizer)
        for epoch in range(epochs):
            ...  # train as usual
            print(monitor.values())  # {"update_ratio/0.weight": 0.0012, ...}

    The same steps give the L2 norms of the weights before the step and of the gradient as the
    optimizer finds it, after clipping and before weight decay. A step with a closure makes its
    gradients itself: there it is the one that the step leaves behind.

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
                ``values``.
            steps_per_epoch: Steps between two calls of ``values``; five of them are measured,
                evenly spaced, or all if they are fewer. Where neither is given, as many as
                there were between the last two calls, and each tenth step is measured before
                that is known.

        Raises:
            UserError: If both are given, one is below one, or the optimizer has none of the
                model's parameters.
        """
        if every is not None and steps_per_epoch is not None:
            raise UserError("UpdateRatioMonitor takes either every=... or steps_per_epoch=...")
        for name, steps in (("every", every), ("steps_per_epoch", steps_per_epoch)):
            if steps is not None and steps < 1:
                raise UserError(f"UpdateRatioMonitor: {name} must be at least 1, got {steps}")
        self._learns = every is None and steps_per_epoch is None
        self._measured = MEASUREMENTS_PER_EPOCH if steps_per_epoch else 1
        self._period: int = every or steps_per_epoch or _EVERY_AT_FIRST
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
        """Returns means over the measured steps of each tensor, and starts again.

        Returns:
            ``update_ratio/<name>``, ``gradient_norm/<name>`` and ``weight_norm/<name>`` by the
            names of ``model.named_parameters()``. Steps at which a tensor had norm zero do not
            count for its ratio; a tensor without others has none and is named in ``left_out``.
            A tensor without a gradient has no norm of it. Empty if no step was measured.
        """
        if self._learns and self._steps:
            self._period, self._measured = self._steps, MEASUREMENTS_PER_EPOCH
        self._steps = 0
        means = {name: mean for group in self._groups for name, mean in group.take_means()}
        self.left_out = tuple(name for name, mean in means.items() if mean.update_ratio is None)
        return {
            f"{quantity}/{name}": value
            for quantity in _Means._fields
            for name, mean in means.items()
            if (value := getattr(mean, quantity)) is not None
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns what was measured since the last call of ``values``, between two steps.

        Returns:
            ``steps`` since then, how often is measured (``spacing``), the ``names`` of the
            measured tensors and their ``norms`` ``(measured steps, 3, names)``: of the weights
            before a step, of its update, and of the gradient (NaN where there is none).
        """
        return {
            "steps": self._steps,
            "spacing": [self._measured, self._period],
            "names": [name for group in self._groups for name in group.names],
            "norms": torch.cat([group.norms() for group in self._groups], dim=2),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on measuring from a state that ``state_dict`` gave, of the same model.

        Raises:
            UserError: If the model lacks parameters of these names.
        """
        parameters = dict(self._model.named_parameters())
        if missing := [name for name in state["names"] if name not in parameters]:
            raise UserError(
                "UpdateRatioMonitor: the state is of another model, this one has no"
                f" {', '.join(missing)}"
            )
        self._steps = state["steps"]
        self._measured, self._period = state["spacing"]
        columns = dict(zip(state["names"], state["norms"].unbind(2), strict=True))
        # Not those of the optimizer now: some may have been frozen since the first step.
        self._stepped = {}
        self._groups = _grouped((name, parameters[name]) for name in columns)
        for group in self._groups:
            group.set_norms(torch.stack([columns[name] for name in group.names], dim=2))

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
                group.before_step(has_gradients=not _is_closure_step(args, kwargs))

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._measuring:
            self._measuring = False
            for group in self._groups:
                group.after_step(has_gradients=_is_closure_step(args, kwargs))

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
        self._stepped = stepped
        # Gives shared ones once, by their first name.
        pairs = self._model.named_parameters()
        self._groups = _grouped(pair for pair in pairs if id(pair[1]) in stepped)


def _is_closure_step(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return kwargs.get("closure", args[1] if len(args) > 1 else None) is not None


def _grouped(pairs: Iterable[tuple[str, Tensor]]) -> list[_TensorGroup]:
    by_device: dict[torch.device, list[tuple[str, Tensor]]] = {}
    for name, parameter in pairs:
        by_device.setdefault(parameter.device, []).append((name, parameter))
    return [_TensorGroup(group) for group in by_device.values()]


class _Means(NamedTuple):
    """Means of one tensor over the measured steps."""

    update_ratio: float | None
    gradient_norm: float | None
    weight_norm: float | None


class _TensorGroup:
    """Parameters on one device, measured by operations on the whole list."""

    def __init__(self, pairs: Sequence[tuple[str, Tensor]]) -> None:
        self.names = [name for name, _ in pairs]
        self._parameters = [parameter for _, parameter in pairs]
        # At least single precision: differences and norms of half-precision numbers are poor.
        self._buffers = [
            torch.empty_like(p, dtype=torch.promote_types(p.dtype, torch.float32))
            for p in self._parameters
        ]
        self._gradients: list[Tensor] = []
        self._norms: list[Tensor] = []

    @torch.no_grad()
    def before_step(self, *, has_gradients: bool) -> None:
        torch._foreach_copy_(self._buffers, self._parameters)
        if has_gradients:  # now, as some optimizers write into them
            self._gradients = self._gradient_norms()

    @torch.no_grad()
    def after_step(self, *, has_gradients: bool) -> None:
        if has_gradients:
            self._gradients = self._gradient_norms()
        weights = torch._foreach_norm(self._buffers)
        torch._foreach_sub_(self._buffers, self._parameters)
        updates = torch._foreach_norm(self._buffers)
        self._norms.append(torch.stack([*weights, *updates, *self._gradients]))

    def _gradient_norms(self) -> list[Tensor]:
        gradients = [
            buffer.new_full((), math.nan) if p.grad is None else _values(p.grad).to(buffer.dtype)
            for p, buffer in zip(self._parameters, self._buffers, strict=True)
        ]
        return list(torch._foreach_norm(gradients))

    def norms(self) -> Tensor:
        """Returns the norms ``(steps, 3, tensors)``, exactly, on the CPU."""
        rows = torch.stack(self._norms).double().cpu() if self._norms else torch.empty(0).double()
        return rows.reshape(len(self._norms), 3, len(self.names))

    def set_norms(self, norms: Tensor) -> None:
        """Goes on from norms that ``norms`` gave."""
        self._norms = list(norms.flatten(1).to(self._parameters[0].device))

    def take_means(self) -> list[tuple[str, _Means]]:
        """Returns each name with its means."""
        if not self._norms:
            return []
        steps = torch.stack(self._norms).reshape(len(self._norms), 3, len(self.names))
        self._norms.clear()
        means = []
        for name, norms in zip(self.names, steps.permute(2, 1, 0).tolist(), strict=True):
            weights, updates, gradients = norms
            pairs = zip(weights, updates, strict=True)
            ratio = _mean([update / weight for weight, update in pairs if weight])
            gradient = _mean([norm for norm in gradients if norm == norm])
            means.append((name, _Means(ratio, gradient, _mean(weights))))
        return means


def _values(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _mean(numbers: list[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None
