"""Which parameters of a network are weights."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

NORMALISATION = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


def weights(network: nn.Module) -> list[nn.Parameter]:
    """Lists the weights of a network: what L2, L1 and max-norm penalties are meant for.

    Weights are parameters of two or more dimensions that are neither biases nor belong to a
    normalisation layer. A parameter shared by several modules is listed once.

    Args:
        network: Any module.

    Returns:
        The weights, in the order of ``network.parameters()``.
    """
    return list(dict.fromkeys(weight for _, _, weight in named_weights(network)))


def named_weights(network: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Yields each weight with the module it belongs to and its name in that module."""
    for module in network.modules():
        if isinstance(module, NORMALISATION):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim >= 2 and not is_bias(name):
                yield module, name, parameter


def is_bias(name: str) -> bool:
    """Tells a bias by its name in its module: ``bias``, ``bias_hh_l0``, ``in_proj_bias``."""
    return name.startswith("bias") or name.endswith("bias")
