"""What a trial trains: the recipe, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from nnstudy.errors import UserError
from nnstudy.training.callbacks import Callback
from nnstudy.training.teacher import Teacher


class Steps(int):
    """The number of minibatch steps of a whole training, which also knows those of one epoch.

    It is an ``int``, so that ``CosineAnnealingLR(optimizer, steps)`` takes it as it is, and
    ``StepLR(optimizer, 5 * steps.per_epoch)`` halves the rate every five epochs.

    Attributes:
        per_epoch: Minibatch steps in one epoch.
    """

    per_epoch: int

    def __new__(cls, total: int, per_epoch: int) -> Steps:
        """Makes the number ``total`` with the attribute ``per_epoch``."""
        steps = super().__new__(cls, total)
        steps.per_epoch = per_epoch
        return steps


class Schedule(Protocol):
    """What a learning-rate schedule must be able to do: PyTorch's schedulers do."""

    def step(self, *args: Any) -> Any:
        """Goes on by one minibatch, or one validation for a plateau schedule."""

    def state_dict(self) -> dict[str, Any]:
        """Returns what is needed to go on later."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a state."""


Loss = Callable[[Tensor, Tensor], Tensor]
Metric = Callable[[Tensor, Tensor], Tensor | float]


@dataclass(kw_only=True)
class Recipe:
    """What one trial trains.

    Attributes:
        network: Any module; its output must fit the loss.
        optimizer: Takes parameters (or parameter groups) and returns an optimizer, for
            example ``functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9)``.
        loss: Takes ``(output, target)`` and returns the mean over the minibatch. Default:
            cross-entropy for classes, mean squared error for numbers.
        schedule: Takes ``(optimizer, steps)``, returns a scheduler that is stepped once a
            minibatch (``ReduceLROnPlateau``: once a validation, with the validation loss).
        batch_size: Examples in a minibatch, from one to the whole training set.
        epochs: How long to train at most; overrides the stage. May be a fraction.
        weight_decay: L2 penalty in PyTorch's spelling, on weights only, not on biases or
            normalisation parameters.
        l2: L2 penalty in the spelling of Nielsen's book, whose lambda is divided by the
            number n of training examples: ``weight_decay = l2 / n``. Give one of the two.
        l1: L1 penalty, likewise divided by n: each step moves a weight by
            ``lr * l1 / n`` towards zero.
        max_norm: Largest L2 norm of the incoming weights of a unit.
        clip_norm: Largest L2 norm of the whole gradient; larger ones are scaled down.
        clip_value: Largest absolute value of one element of the gradient.
        augmentation: Applied to each training minibatch of inputs, after normalisation
            to numbers but before standardisation where the data are images.
        average: Decay of an exponential moving average of the weights that is kept beside
            them and validated with them (0.999, say). None keeps no average.
        metrics: More scores, by name; each takes ``(outputs, targets)`` of a whole part.
        callbacks: Small hooks into the loop, see ``Callback``.
        teacher: Answers to the training examples that are learnt beside their targets;
            validation and curves are of ``loss`` alone. ``nnstudy distill`` sets it.
    """

    network: nn.Module
    optimizer: Callable[[Any], Optimizer]
    loss: Loss | None = None
    schedule: Callable[[Optimizer, Steps], Schedule] | None = None
    batch_size: int = 64
    epochs: float | None = None
    weight_decay: float = 0.0
    l2: float = 0.0
    l1: float = 0.0
    max_norm: float | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    augmentation: Callable[[Tensor], Tensor] | None = None
    average: float | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    callbacks: Sequence[Callback] = ()
    teacher: Teacher | None = None

    def __post_init__(self) -> None:
        """Raises UserError where a value cannot be meant."""
        if not isinstance(self.network, nn.Module):
            raise UserError(
                f"Recipe(network=...) must be a torch.nn.Module, got {type(self.network).__name__}"
            )
        if isinstance(self.optimizer, Optimizer) or not callable(self.optimizer):
            raise UserError(
                "Recipe(optimizer=...) must be a function of the parameters, for example"
                " functools.partial(torch.optim.SGD, lr=0.01)"
            )
        if self.batch_size < 1:
            raise UserError(f"Recipe(batch_size=...) must be at least 1, got {self.batch_size}")
        if self.weight_decay and self.l2:
            raise UserError("Recipe: give weight_decay or l2 (= weight_decay * n), not both")
        for name in ("weight_decay", "l2", "l1"):
            if getattr(self, name) < 0:
                raise UserError(
                    f"Recipe({name}=...) must not be negative, got {getattr(self, name)}"
                )
        for name in ("max_norm", "clip_norm", "clip_value", "epochs"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"Recipe({name}=...) must be above 0, got {value}")
        if self.average is not None and not 0 < self.average < 1:
            raise UserError(f"Recipe(average=...) must lie between 0 and 1, got {self.average}")


@dataclass(kw_only=True)
class OwnLoop:
    """A training loop of the user's own, as something that yields records of epochs.

    Attributes:
        epochs: Yields one mapping per epoch, with the study's metric among its keys
            (``{"loss/valid": 0.31, "accuracy/valid": 0.91}``). If it has ``state_dict`` and
            ``load_state_dict`` it can be stopped and continued, else only started again.
        network: Whose weights are kept as checkpoints; None keeps none.
    """

    epochs: Iterable[Mapping[str, float]]
    network: nn.Module | None = None
