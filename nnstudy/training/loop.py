"""The training loop: an iterable of records with a state."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnstudy.data import Data
from nnstudy.errors import UserError
from nnstudy.training import losses, regularisation, schedules
from nnstudy.training.averaging import ExponentialAverage
from nnstudy.training.callbacks import Callback
from nnstudy.training.devices import Precision, mixed_precision, resolve_device
from nnstudy.training.early_stopping import EarlyStopping, Patience
from nnstudy.training.evaluation import evaluate
from nnstudy.training.optimizers import make_optimizer
from nnstudy.training.progress import Budget
from nnstudy.training.recipe import Loss, Recipe
from nnstudy.training.record import Record
from nnstudy.training.running import RunningScores
from nnstudy.training.seeds import (
    derived_generator,
    random_state,
    seed_everything,
    set_random_state,
)
from nnstudy.training.stopwatch import Stopwatch

STATE_VERSION = 1


class Diverged(Exception):
    """The loss became NaN or infinite.

    Attributes:
        epoch: The epoch in which it did, counted from 1.
        where: ``training`` or ``validation``.
    """

    def __init__(self, epoch: int, where: str) -> None:
        super().__init__(f"the {where} loss became NaN or infinite in epoch {epoch}")
        self.epoch = epoch
        self.where = where


class Training:
    """Trains what a recipe says: ``for record in Training(recipe, data): ...``.

    Every random draw between two validations comes from (seed, minibatch number), so that
    nothing that a consumer draws in between changes the numbers, and a training that is
    continued from its state gives the same ones as one that was never stopped (on one
    machine, with one number of threads). Whatever a callback raises leaves a state to go on
    from.

    Args:
        recipe: What to train. Its network is moved to the device and trained in place.
        data: Trained on ``data.train``, validated on ``data.validation``.
        epochs: Largest number of epochs, may be a fraction; the recipe's own wins.
        seed: Whole numbers that the draws are derived from.
        early_stopping: When to end before the epochs do; None: never.
        metric: Key of the records that early stopping watches.
        direction: ``maximize`` or ``minimize`` the metric.
        validate_every: Training examples between two validations; None: once an epoch.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
        precision: ``float32``, or ``mixed`` on CUDA.

    Attributes:
        network: The network, on its device.
        optimizer: The optimizer.
        average: The moving average of the weights, or None.
        callbacks: The recipe's, in a list that more can be added to from outside. Those must
            draw no random numbers, which the recipe's may.
        pulse: Grows with every minibatch, in training and in validation: a sign of life.
        history: The records so far.
        seconds_of_validation: What of it this process spent in validation.
        ended: Why the training ended by itself (``epochs``, ``early stopping``), or None.

    Raises:
        UserError: If the network's output does not fit the loss, among others.
        Diverged: While iterating, if the loss becomes NaN or infinite.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Data,
        *,
        epochs: float = 10,
        seed: int | Sequence[int] = 0,
        early_stopping: EarlyStopping | None = None,
        metric: str | None = None,
        direction: str | None = None,
        validate_every: int | None = None,
        device: str | torch.device = "auto",
        precision: Precision = "float32",
    ) -> None:
        self.recipe = recipe
        self.device = resolve_device(str(device))
        self.network: nn.Module = recipe.network.to(self.device)
        self.loss: Loss = recipe.loss or default_loss(data.task)
        if isinstance(self.loss, nn.Module):
            self.loss.to(self.device)
        self._teacher = recipe.teacher
        train = data.train if self._teacher is None else self._teacher.taught(data.train)
        self._train_part = train.to(self.device)
        self._validation_part = data.validation.to(self.device)
        self._seed = (seed,) if isinstance(seed, int) else tuple(seed)
        epochs = recipe.epochs or epochs
        if early_stopping and early_stopping.max_epochs:
            epochs = min(epochs, early_stopping.max_epochs)
        self.budget = Budget.of(len(data.train), recipe.batch_size, epochs, validate_every)
        self._metric = metric or (
            "accuracy/valid" if data.task == "classification" else "loss/valid"
        )
        maximize = direction == "maximize" or (direction is None and "accuracy" in self._metric)
        self._patience = (
            Patience(early_stopping, "maximize" if maximize else "minimize")
            if early_stopping
            else None
        )
        self.optimizer, self._penalty = make_optimizer(recipe, self.network, len(data.train))
        self._closure_steps = isinstance(self.optimizer, torch.optim.LBFGS)
        self.schedule = (
            schedules.adapt(recipe.schedule(self.optimizer, self.budget.steps))
            if recipe.schedule
            else None
        )
        self.average = ExponentialAverage(self.network, recipe.average) if recipe.average else None
        self.callbacks: list[Callback] = list(recipe.callbacks)
        self._autocast, self._scaler = self._make_precision(precision)

        self.position = 0
        self._validated = 0
        self.pulse = 0
        self.examples_seen = 0
        self.seconds_of_validation = 0.0
        self.history: list[Record] = []
        self.ended: str | None = None
        self._running = RunningScores()
        self._used: dict[str, float] | None = None
        self._in_segment = False
        self._order: tuple[int, Tensor] | None = None
        self._clock = Stopwatch()
        self._paused_random: dict[str, Any] | None = None

    @property
    def seconds(self) -> float:
        """Time spent in training and validation, over all continuations and until now."""
        return self._clock.seconds

    # -- A training's life, top to bottom ---------------------------------------------------

    def __iter__(self) -> Iterator[Record]:
        """Trains on, from where the state is, and yields a record after each validation."""
        self._call("on_train_begin")
        while self.ended is None:
            yield self._next_record()
        self._call("on_train_end")

    def _next_record(self) -> Record:
        """Trains up to the next validation and validates.

        Whatever is raised on the way, also in validation, leaves the segment open: it is gone
        on with where it was, and a validation is repeated.
        """
        self._enter_segment()
        try:
            with self._clock:
                self._train_segment()
                validating = time.perf_counter()
                values = self._validate()
                self.seconds_of_validation += time.perf_counter() - validating
            record = Record(
                step=self.budget.step_at(self.position),
                epoch=self.position / self.budget.steps.per_epoch,
                examples_seen=self.examples_seen,
                seconds=self.seconds,
                values=values,
                low_point=self.schedule is not None and schedules.low_point(self.schedule),
            )
            loss = values["loss/valid"]  # a callback may change what is recorded
            self._call("on_validation_end", record)
        except BaseException:
            self._paused_random = random_state()
            raise
        self._close_segment(record, loss)
        return record

    def _enter_segment(self) -> None:
        if not self._in_segment:
            seed_everything(*self._seed, self.position)
            self._running.reset()
            self._in_segment = True
        elif self._paused_random is not None:
            set_random_state(self._paused_random)
        self._paused_random = None

    def _train_segment(self) -> None:
        # Not from the position, since the state may come from between the last minibatch and
        # its validation.
        end = self.budget.next_validation(self._validated)
        self._refuse_divergence(self._running.loss, "training")
        self.network.train()
        while self.position < end:
            epoch, begin = divmod(self.position, self.budget.steps.per_epoch)
            self._train_epoch(epoch, begin, begin + end - self.position)

    def _close_segment(self, record: Record, loss: float) -> None:
        self._in_segment = False
        self._validated = self.position
        if self.schedule is not None:
            self.schedule.validated(loss)
        self.history.append(record)
        self.ended = self._why_end(record)

    def _train_epoch(self, epoch: int, begin: int, end: int) -> None:
        """Trains from one minibatch of an epoch to another, or to the epoch's end."""
        if begin == 0:
            self._call("on_epoch_begin")
        minibatches = self._train_part.minibatches(
            self.recipe.batch_size,
            self._epoch_order(epoch),
            start=begin,
            device=self.device,
            augmentation=self.recipe.augmentation,
        )
        end = min(end, self.budget.steps.per_epoch)
        step_hooks = self._hooks("on_step_end")
        for _, (inputs, targets) in zip(range(begin, end), minibatches, strict=False):
            self._train_step(inputs, targets)
            for hook in step_hooks:
                hook(self)
        # Also where no validation follows, so that the right epoch is named.
        self._running.collect()
        self._refuse_divergence(self._running.loss, "training")

    def _train_step(self, inputs: Tensor, targets: Tensor) -> None:
        if self._closure_steps:
            outputs, loss = self._closure_step(inputs, targets)
        else:
            self.optimizer.zero_grad()
            outputs, loss = self._forward(inputs, targets)
            self._backward(loss)
            if self._scaler:
                self._scaler.step(self.optimizer)
                self._scaler.update()
            else:
                self.optimizer.step()
        if self.schedule is not None:
            self._used = self._rates()  # the schedule is about to set those of the next step
            self.schedule.step()
        if self.average:
            self.average.update()
        self.position += 1
        self.examples_seen += len(targets)
        if self._teacher is not None:
            # Curves of students that learn differently are of one and the same loss.
            targets = self._teacher.truth(targets)
            loss = self.loss(outputs.detach(), targets)
        if self._running.add(outputs.detach(), targets, loss.detach()):
            self._refuse_divergence(self._running.loss, "training")

    def _forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        self.pulse += 1
        if self._autocast is None:
            outputs = self.network(inputs)
            return outputs, self._objective(outputs, targets)
        with torch.autocast(self.device.type, self._autocast):
            outputs = self.network(inputs)
            return outputs, self._objective(outputs, targets)

    def _objective(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self._teacher is None:
            return self.loss(outputs, targets)
        return self._teacher.loss(self.loss, outputs, targets)

    def _backward(self, loss: Tensor) -> None:
        if self._scaler:
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call] # torch has none
            self._scaler.unscale_(self.optimizer)
        else:
            loss.backward()  # type: ignore[no-untyped-call] # torch has none
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        if self.recipe.clip_value is not None:
            nn.utils.clip_grad_value_(self.network.parameters(), self.recipe.clip_value)

    def _closure_step(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """One step of an optimizer that evaluates the loss several times (L-BFGS)."""
        first: list[tuple[Tensor, Tensor]] = []

        def closure() -> float:
            self.optimizer.zero_grad()
            outputs, loss = self._forward(inputs, targets)
            first.append((outputs, loss))
            if any(self._penalty):
                loss = loss + regularisation.penalty(self.network, *self._penalty)
            self._backward(loss)
            return loss.item()

        self.optimizer.step(closure)
        return first[0]

    def _validate(self) -> dict[str, float]:
        # What a network or a metric draws here is the same where a validation is repeated.
        seed_everything(*self._seed, self.position, 2)
        values = {f"{name}/train": value for name, value in self._running.means().items()}
        self._refuse_divergence(values["loss/train"], "training")
        if self._running.wiggle.value is not None:
            values["wiggle/loss"] = self._running.wiggle.value
        values |= self._evaluate(self.network, "valid")
        self._refuse_divergence(values["loss/valid"], "validation")
        if self.average:
            values |= self._evaluate(self.average.network, "valid_average")
        return values | (self._used or self._rates())

    def _rates(self) -> dict[str, float]:
        group = self.optimizer.param_groups[0]
        return {name: float(group[name]) for name in ("lr", "momentum") if name in group}

    def _evaluate(self, network: nn.Module, part: str) -> dict[str, float]:
        hooks = self._hooks("on_validation_batch_end")

        def after_minibatch() -> None:
            self.pulse += 1
            if hooks:
                # A state that is taken here could not be trained on otherwise.
                with torch.inference_mode(False):
                    for hook in hooks:
                        hook(self)

        scores = evaluate(
            network,
            self._validation_part,
            self.loss,
            metrics=self.recipe.metrics,
            device=self.device,
            after_minibatch=after_minibatch,
        )
        return {f"{name}/{part}": value for name, value in scores.items()}

    def _why_end(self, record: Record) -> str | None:
        if self._patience and self._patience.update(self._watched(record)):
            return "early stopping"
        return "epochs" if self.position >= self.budget.steps else None

    def _watched(self, record: Record) -> float:
        try:
            return record.values[self._metric]
        except KeyError:
            raise UserError(
                f"the metric {self._metric!r} is not among the values of an epoch:"
                f" {', '.join(sorted(record.values))}"
            ) from None

    # -- State ------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Returns all that is needed to go on: tensors and JSON-ready values.

        The tensors are the live ones; write or copy them before training goes on. It may be
        taken between two records, by a callback after any minibatch, or after one has raised
        something. A state from within a validation repeats that validation alone.
        """
        return {
            "version": STATE_VERSION,
            "position": self.position,
            "validated": self._validated,
            "examples_seen": self.examples_seen,
            "seconds": self.seconds,
            "ended": self.ended,
            "history": [record.to_dict() for record in self.history],
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule is not None else None,
            "average": self.average.state_dict() if self.average else None,
            "patience": self._patience.state_dict() if self._patience else None,
            "scaler": self._scaler.state_dict() if self._scaler else None,
            "inside": (
                {
                    "running": self._running.state_dict(),
                    "random": self._paused_random or random_state(),
                    "used": self._used,
                }
                if self._in_segment
                else None
            ),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state that ``state_dict`` gave, with the same recipe and data.

        Raises:
            UserError: If the state is of a newer version.
        """
        if state["version"] > STATE_VERSION:
            raise UserError(
                f"this checkpoint has version {state['version']}, newer than {STATE_VERSION}"
                " that is understood here; upgrade nnstudy"
            )
        self.position = state["position"]
        self._validated = state["validated"]
        self.examples_seen = state["examples_seen"]
        self._clock.elapsed = state["seconds"]
        self.ended = state["ended"]
        self.history = [Record.from_dict(record) for record in state["history"]]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for part, name in (
            (self.schedule, "schedule"),
            (self.average, "average"),
            (self._patience, "patience"),
            (self._scaler, "scaler"),
        ):
            if part is not None:
                part.load_state_dict(state[name])
        inside = state["inside"]
        self._in_segment = inside is not None
        if inside is not None:
            self._running.load_state_dict(inside["running"])
            self._paused_random = inside["random"]
            self._used = inside["used"]

    # -- Parts ------------------------------------------------------------------------------

    def _make_precision(
        self, precision: Precision
    ) -> tuple[torch.dtype | None, torch.amp.GradScaler | None]:
        if precision == "float32":
            return None, None
        reduced, needs_scaling = mixed_precision(self.device)
        if self._closure_steps:
            raise UserError("L-BFGS cannot train in mixed precision; use --precision float32")
        return reduced, torch.amp.GradScaler(self.device.type) if needs_scaling else None

    def _epoch_order(self, epoch: int) -> Tensor:
        """Returns the order of the examples in an epoch, from (seed, epoch) alone."""
        if self._order is None or self._order[0] != epoch:
            generator = derived_generator(*self._seed, epoch, 1)
            self._order = epoch, self._train_part.order(generator)
        return self._order[1]

    def _refuse_divergence(self, loss: float, where: str) -> None:
        if not math.isfinite(loss):
            raise Diverged(math.ceil(self.position / self.budget.steps.per_epoch), where)

    def _call(self, name: str, *args: Any) -> None:
        for hook in self._hooks(name):
            hook(self, *args)

    def _hooks(self, name: str) -> list[Callable[..., None]]:
        return [getattr(callback, name) for callback in self.callbacks if hasattr(callback, name)]


def default_loss(task: str) -> Loss:
    """Returns the loss of a recipe that names none, for a kind of data."""
    return F.cross_entropy if task == "classification" else losses.mean_squared_error
