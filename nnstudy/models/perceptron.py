"""The multilayer perceptron."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import prod

from torch import nn

from nnstudy.errors import UserError
from nnstudy.models.arguments import check_dropout, check_sizes

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
}


def mlp(
    shape: Sequence[int],
    widths: Sequence[int],
    outputs: int,
    activation: str = "relu",
    dropout: float = 0.0,
    batch_norm: bool = False,
) -> nn.Sequential:
    """Makes a multilayer perceptron; without hidden layers it is a linear model.

    Args:
        shape: Shape of one input; inputs ``(N, *shape)`` are flattened.
        widths: Units of each hidden layer; empty for none.
        outputs: Number of outputs, which are linear: ``(N, outputs)``.
        activation: Of the hidden layers: sigmoid, tanh, relu, leaky_relu or gelu.
        dropout: Share of hidden units that is dropped in training, in [0, 1).
        batch_norm: Whether each hidden layer is normalised before its activation.

    Returns:
        A ``Sequential`` whose layers are named ``hidden1``, ..., ``output``.

    Raises:
        UserError: If an argument is out of range or the activation is unknown.
    """
    check_sizes("mlp", shape=shape, widths=widths, outputs=[outputs])
    check_dropout("mlp", dropout)
    if activation not in ACTIVATIONS:
        raise UserError(f"Unknown activation {activation!r}; known are {', '.join(ACTIVATIONS)}")
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    inputs = prod(shape)
    for number, width in enumerate(widths, start=1):
        # Batch norm has a shift of its own.
        layers[f"hidden{number}"] = nn.Linear(inputs, width, bias=not batch_norm)
        if batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm1d(width)
        layers[f"{activation}{number}"] = ACTIVATIONS[activation]()
        if dropout:
            layers[f"dropout{number}"] = nn.Dropout(dropout)
        inputs = width
    layers["output"] = nn.Linear(inputs, outputs)
    return nn.Sequential(layers)
