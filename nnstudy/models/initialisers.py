"""Initial weights by name, from ``torch.nn.init``.

The names are those of the literature; n is the fan-in of a unit, m its fan-out:

=================  ==========================================================================
normal             N(0, 1): Nielsen's first choice, too large for all but the smallest networks
fan_in_normal      std 1/sqrt(n): Nielsen, "Neural Networks and Deep Learning", chapter 3
lecun_normal       the same distribution under the name that other libraries know
lecun_uniform      within sqrt(3/n): LeCun et al. 1998, "Efficient BackProp", section 4.6
glorot_normal      std sqrt(2/(n+m)): Glorot and Bengio 2010, for tanh
glorot_uniform     within sqrt(6/(n+m))
he_normal          std sqrt(2/n): He et al. 2015, for ReLU
he_uniform         within sqrt(6/n)
orthogonal         orthonormal rows or columns: Saxe et al. 2013
=================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from nnstudy.errors import UserError
from nnstudy.models.parameters import NORMALISATION, is_bias, named_weights

_fan_in_normal = partial(nn.init.kaiming_normal_, nonlinearity="linear")

_INITIALISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": nn.init.normal_,
    "fan_in_normal": _fan_in_normal,
    "lecun_normal": _fan_in_normal,
    "lecun_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="linear"),
    "glorot_normal": nn.init.xavier_normal_,
    "glorot_uniform": nn.init.xavier_uniform_,
    "he_normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "he_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
}

NAMES = tuple(_INITIALISERS)
"""Every name that ``initialise`` takes, for ``trial.suggest_categorical``."""

Network = TypeVar("Network", bound=nn.Module)


@torch.no_grad()
def initialise(
    network: Network, name: str, *, bias: Literal["zeros", "normal"] = "zeros"
) -> Network:
    """Draws the weights of a network anew and sets its biases.

    The gates of a recurrent layer are initialised each by itself, since their stacked matrix
    has another fan-out and other rows that should be orthogonal. Normalisation layers and
    embeddings, which have no fan-in, are left as they are.

    Args:
        network: Changed in place. May lie on the ``meta`` device.
        name: One of ``NAMES``.
        bias: ``"zeros"``, or ``"normal"`` for N(0, 1), as in Nielsen's book.

    Returns:
        The same network.

    Raises:
        UserError: If ``name`` or ``bias`` is unknown.
    """
    if name not in _INITIALISERS:
        raise UserError(f"Unknown initialiser {name!r}; known are {', '.join(NAMES)}")
    if bias not in ("zeros", "normal"):
        raise UserError(f"initialise(bias=...) must be 'zeros' or 'normal', got {bias!r}")
    for matrix in _matrices(network):
        _INITIALISERS[name](matrix)
    for vector in _biases(network):
        nn.init.zeros_(vector) if bias == "zeros" else nn.init.normal_(vector)
    return network


def _matrices(network: nn.Module) -> Iterator[Tensor]:
    """Yields views of the weights, shaped (fan-out, fan-in, ...) as ``torch.nn.init`` reads them."""
    for module, name, weight in named_weights(network):
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            continue
        if isinstance(module, nn.modules.conv._ConvTransposeNd):
            yield weight.transpose(0, 1)
        elif isinstance(module, nn.RNNBase) and not name.startswith("weight_hr"):  # a projection
            yield from weight.chunk(_gates(module))
        else:
            yield weight


def _gates(module: nn.RNNBase) -> int:
    return {"LSTM": 4, "GRU": 3}.get(module.mode, 1)


def _biases(network: nn.Module) -> Iterator[Tensor]:
    for module in network.modules():
        if isinstance(module, NORMALISATION):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if is_bias(name):
                yield parameter
