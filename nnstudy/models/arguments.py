"""Checks of what the networks are built from."""

from __future__ import annotations

from collections.abc import Sequence

from nnstudy.errors import UserError


def check_sizes(network: str, **sizes: Sequence[int]) -> None:
    """Raises UserError unless every size is a whole number above zero."""
    for name, values in sizes.items():
        if any(value < 1 or value != int(value) for value in values):
            raise UserError(
                f"{network}({name}=...) must hold whole numbers above 0, got {tuple(values)}"
            )


def check_dropout(network: str, dropout: float) -> None:
    """Raises UserError unless the share can be dropped and something is left."""
    if not 0 <= dropout < 1:
        raise UserError(f"{network}(dropout=...) must be at least 0 and below 1, got {dropout}")


def image_shape(network: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """Returns (channels, height, width) or raises UserError where the input is no image."""
    if len(shape) != 3:
        raise UserError(
            f"{network} takes images of shape (channels, height, width), got inputs of shape"
            f" {tuple(shape)}; use mlp or recurrent for these"
        )
    check_sizes(network, shape=shape)
    channels, height, width = shape
    return channels, height, width
