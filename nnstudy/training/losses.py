"""Loss functions: each takes ``(output, target)`` and returns the mean over the minibatch.

Targets are class indices ``(N,)`` where the loss is one of classes, outputs ``(N, C)`` the
scores of the classes before any squashing; the class with the largest score is the answer.
Any loss of PyTorch's serves as well, for example ``nn.CrossEntropyLoss(label_smoothing=0.1)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nnstudy.errors import UserError

__all__ = [
    "BinaryCrossEntropy",
    "MultiClassHinge",
    "Quadratic",
    "cross_entropy",
    "mean_squared_error",
]

Link = Literal["softmax", "sigmoid"]
"""What makes probabilities of the scores of classes."""

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": partial(torch.softmax, dim=-1),
}


def mean_squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Returns the mean squared error of numbers.

    Unlike ``F.mse_loss`` it does not compare each output with each target where the one has
    shape ``(N, 1)`` and the other ``(N,)``.

    Args:
        output: ``(N,)`` or ``(N, K)``.
        target: Numbers of the same count.

    Returns:
        The mean over examples and outputs.

    Raises:
        UserError: If outputs and targets differ in number.
    """
    return F.mse_loss(output, _as_numbers(output, target))


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """Cross-entropy of sigmoid outputs, one a class, summed over the outputs.

    With a = sigmoid(output) and y the one-hot vector of the class, it is
    ``-sum_j [y_j ln a_j + (1 - y_j) ln(1 - a_j)]``: Nielsen, "Neural Networks and Deep
    Learning", chapter 3, equation 63. The sigmoid is part of the loss, so the network ends in a
    linear layer.

    Targets may also be 0 or 1 where the network has one output, and numbers from 0 to 1 of the
    output's shape where an example may belong to several classes.
    """

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the mean over the minibatch of the sum over the outputs."""
        wanted = _wanted(output, target)
        total = F.binary_cross_entropy_with_logits(output, wanted, reduction="sum")
        return total / len(output)


@dataclass(frozen=True)
class Quadratic:
    """Half the squared distance of the outputs to the one-hot vector of the class, or to numbers.

    ``1/2 sum_j (a_j - y_j)^2``: Nielsen, "Neural Networks and Deep Learning", chapter 1,
    equation 6. Learns slowly where a sigmoid unit is saturated.

    Attributes:
        activation: Makes ``a`` of the output: ``"sigmoid"``, ``"tanh"``, ``"softmax"``, or None
            to take the output as it is.
    """

    activation: str | None = None

    def __post_init__(self) -> None:
        """Raises UserError if the activation is unknown."""
        if self.activation is not None and self.activation not in _ACTIVATIONS:
            raise UserError(
                f"Quadratic(activation=...) must be None or one of {', '.join(_ACTIVATIONS)},"
                f" got {self.activation!r}"
            )

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the mean over the minibatch."""
        activated = output if self.activation is None else _ACTIVATIONS[self.activation](output)
        total = F.mse_loss(activated, _wanted(output, target), reduction="sum")
        return total / (2 * len(output))


@dataclass(frozen=True)
class MultiClassHinge:
    """The hinge loss of Weston and Watkins (1999): every wrong class is to keep a distance.

    ``sum_{j != y} max(0, s_j - s_y + margin)`` for scores s. PyTorch's ``multi_margin_loss``
    divides this sum by the number C of classes; here it is not divided, so that a network that
    knows nothing starts at ``margin * (C - 1)``: 9 for ten classes.

    Attributes:
        margin: By how much the right class's score should exceed the others.
    """

    margin: float = 1.0

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the mean over the minibatch."""
        classes = output.shape[-1]
        return F.multi_margin_loss(output, target, margin=self.margin) * classes


def link_of(loss: Callable[[Tensor, Tensor], Tensor]) -> Link:
    """Returns what makes probabilities of a network's scores, by the loss it was trained with."""
    is_sigmoid = (
        isinstance(loss, (BinaryCrossEntropy, nn.BCEWithLogitsLoss))
        or loss is F.binary_cross_entropy_with_logits
        or (isinstance(loss, Quadratic) and loss.activation == "sigmoid")
    )
    return "sigmoid" if is_sigmoid else "softmax"


def class_logits(output: Tensor, link: Link) -> Tensor:
    """Returns scores whose softmax is what a network takes for the probabilities of classes.

    Args:
        output: ``(N, C)``; ``(N, 1)`` or ``(N,)`` is the score of class 1 of two.
        link: ``softmax``, or ``sigmoid`` where the network learnt each class by itself: then
            the C probabilities are divided by their sum.

    Returns:
        ``(N, C)``, or ``(N, 2)``.
    """
    scores = output.unsqueeze(1) if output.ndim == 1 else output
    if scores.shape[1] == 1:
        return torch.cat([torch.zeros_like(scores), scores], dim=1)
    return F.logsigmoid(scores) if link == "sigmoid" else scores


def _wanted(output: Tensor, target: Tensor) -> Tensor:
    """Returns what the outputs should be: one-hot vectors for class indices, else the numbers."""
    if target.is_floating_point() or output.ndim == 1 or output.shape[1] == 1:
        return _as_numbers(output, target)
    # Cheaper than F.one_hot, which makes integers and looks for the largest class first.
    return torch.zeros_like(output).scatter_(1, target.unsqueeze(1), 1.0)


def _as_numbers(output: Tensor, target: Tensor) -> Tensor:
    if output.shape == target.shape:
        return target.to(output.dtype)
    if output.numel() != target.numel() or len(output) != len(target):
        raise UserError(
            f"outputs of shape {tuple(output.shape)} do not fit targets of shape"
            f" {tuple(target.shape)}; give the network one output for each number to predict"
        )
    return target.to(output.dtype).view_as(output)
