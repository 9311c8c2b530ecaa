"""What the training loop drives: schedules that hear of minibatches and of validations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, ReduceLROnPlateau

from nnstudy.errors import UserError
from nnstudy.training.recipe import Schedule


class RunningSchedule(Protocol):
    """What the training loop drives: any schedule after ``adapt``."""

    def step(self) -> Any:
        """Called after each minibatch."""

    def validated(self, loss: float) -> None:
        """Called after each validation with its loss."""

    def state_dict(self) -> dict[str, Any]:
        """Returns what is needed to go on later, ready for JSON."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a state; the optimizer's must be loaded too."""


def adapt(schedule: Any) -> RunningSchedule:
    """Makes a schedule drivable by the loop, whether it counts minibatches or validations.

    Args:
        schedule: What a recipe's ``schedule`` returned: a scheduler of PyTorch's,
            ``ReduceLROnPlateau`` included, or anything with the methods of
            ``RunningSchedule``, where ``validated`` may be missing.

    Returns:
        The schedule, wrapped where need be.

    Raises:
        UserError: If it cannot be stepped, saved or loaded.
    """
    missing = [
        name for name in ("step", "state_dict", "load_state_dict") if not hasattr(schedule, name)
    ]
    if missing:
        raise UserError(
            f"Recipe(schedule=...) returned {type(schedule).__name__}, which has no"
            f" {' and no '.join(missing)}; it must return a scheduler such as torch.optim's"
        )
    if hasattr(schedule, "validated"):
        running: RunningSchedule = schedule
        return running
    if isinstance(schedule, ReduceLROnPlateau):
        return _PerValidation(schedule)
    return _PerMinibatch(schedule)


def low_point(schedule: RunningSchedule | Schedule) -> bool:
    """Tells whether the last step ended a cycle of warm restarts, where the rate was lowest."""
    if isinstance(schedule, CosineAnnealingWarmRestarts):
        return bool(schedule.last_epoch > 0 and schedule.T_cur == 0)
    return any(low_point(inner) for inner in getattr(schedule, "inner_schedules", ()))


class _PerMinibatch:
    """A schedule that takes no notice of validations."""

    def __init__(self, inner: Schedule) -> None:
        self.inner_schedules = (inner,)
        self.step = inner.step
        self.state_dict = inner.state_dict
        self.load_state_dict = inner.load_state_dict

    def validated(self, loss: float) -> None:
        pass


class _PerValidation:
    """A schedule that takes no notice of minibatches."""

    def __init__(self, inner: ReduceLROnPlateau) -> None:
        self._inner = inner
        self.state_dict = inner.state_dict
        self.load_state_dict = inner.load_state_dict

    def step(self) -> None:
        pass

    def validated(self, loss: float) -> None:
        self._inner.step(loss)


class Warmup:
    """A linear rise of the rate to where another schedule begins, then that one."""

    def __init__(self, optimizer: Optimizer, inner: RunningSchedule, length: int) -> None:
        self.inner_schedules = (inner,)
        self._inner = inner
        self._optimizer = optimizer
        self._length = length
        self._done = 0
        self._targets = [float(group["lr"]) for group in optimizer.param_groups]
        self._set_rates()

    def step(self) -> None:
        if self._done >= self._length:
            self._inner.step()
        else:
            self._done += 1
            self._set_rates()

    def validated(self, loss: float) -> None:
        if self._done >= self._length:
            self._inner.validated(loss)

    def state_dict(self) -> dict[str, Any]:
        return {
            "done": self._done,
            "targets": self._targets,
            "inner": self._inner.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self._done = state_dict["done"]
        self._targets = list(state_dict["targets"])
        self._inner.load_state_dict(state_dict["inner"])

    def _set_rates(self) -> None:
        share = (self._done + 1) / (self._length + 1)
        for group, target in zip(self._optimizer.param_groups, self._targets, strict=True):
            rate = group["lr"]
            if isinstance(rate, Tensor):
                rate.fill_(target * share)
            else:
                group["lr"] = target * share


class Momentum:
    """A linear change of the momentum."""

    def __init__(self, optimizer: Optimizer, start: float, end: float, length: int) -> None:
        if not any("momentum" in group or "betas" in group for group in optimizer.param_groups):
            raise UserError(
                f"{type(optimizer).__name__} has no momentum to anneal; leave out"
                " schedules.momentum or use SGD, RMSprop or Adam"
            )
        self._optimizer = optimizer
        self._start = start
        self._end = end
        self._last = max(1, length - 1)
        self._done = 0
        self._set_momentum()

    def step(self) -> None:
        self._done += 1
        self._set_momentum()

    def state_dict(self) -> dict[str, Any]:
        return {"done": self._done}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self._done = state_dict["done"]
        self._set_momentum()

    def _set_momentum(self) -> None:
        share = min(1.0, self._done / self._last)
        value = (1 - share) * self._start + share * self._end
        for group in self._optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (value, *group["betas"][1:])
            else:
                group["momentum"] = value


class Together:
    """Several schedules side by side."""

    def __init__(self, inner_schedules: list[RunningSchedule]) -> None:
        self.inner_schedules = inner_schedules

    def step(self) -> None:
        for schedule in self.inner_schedules:
            schedule.step()

    def validated(self, loss: float) -> None:
        for schedule in self.inner_schedules:
            schedule.validated(loss)

    def state_dict(self) -> dict[str, Any]:
        return {"schedules": [schedule.state_dict() for schedule in self.inner_schedules]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        for schedule, state in zip(self.inner_schedules, state_dict["schedules"], strict=True):
            schedule.load_state_dict(state)
