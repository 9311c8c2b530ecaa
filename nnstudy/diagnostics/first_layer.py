"""The weights of the first layer as a picture: what each unit looks for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nnstudy.diagnostics.pictures import Image, blank, stacked, write

MOST_TILES = 64
_COLUMNS = 8
_TILE = 40  # pixels that small kernels are enlarged to
_GAP = 2
_LINE, _SCALE_WIDTH, _BAR = 16, 160, 60  # height of the line with the scale, widths in it

_RED, _WHITE, _BLUE = (178, 24, 43), (255, 255, 255), (33, 102, 172)  # as matplotlib's RdBu
_COLOURS = np.rint(
    np.concatenate([np.linspace(_RED, _WHITE, 128)[:-1], np.linspace(_WHITE, _BLUE, 128)])
).astype(np.uint8)

Weights = NDArray[np.float32]


def first_layer_picture(model: nn.Module, shape: Sequence[int] | None = None) -> Image | None:
    """Draws what the units of a network's first layer weigh, one tile a unit.

    Noisy tiles hint at a network that has not converged, a rate that is wrong or too little
    regularisation; smooth and diverse ones at a training that goes well (CS231n, "Learning",
    section "First-layer Visualizations").

    All tiles have one scale, from -m to m, where m is the largest absolute weight drawn; it is
    written below. Weights for grey pixels are red where they are negative, white at zero and
    blue where positive. Weights for coloured pixels are colours, and grey at zero.

    Args:
        model: Its first linear or two-dimensional convolutional layer is drawn, in the order
            of ``model.modules()``.
        shape: Shape of one input: ``(height, width)`` or ``(1 or 3, height, width)``. Default:
            for linear layers, the square that has as many pixels.

    Returns:
        Height, width and three colours, 0 to 255: the first 64 units in rows of eight. None
        where the first layer with weights is another one, or its inputs are no such image.
    """
    weights = first_weights(model)
    if weights is None:
        return None
    kernels = _kernels(weights, shape)
    if kernels is None:
        return None
    kernels = kernels[:MOST_TILES]
    limit = float(np.abs(kernels).max())
    if not math.isfinite(limit):
        return None
    tiles = stacked(_tiles(_coloured(kernels, limit)), _COLUMNS)
    image = blank(tiles.shape[0] + _LINE, max(tiles.shape[1], _SCALE_WIDTH))
    image[: tiles.shape[0], : tiles.shape[1]] = tiles
    _draw_scale(image[tiles.shape[0] :], limit, grey=kernels.shape[1] == 1)
    return image


def first_weights(model: nn.Module) -> Tensor | None:
    """Returns the weights of a network's first layer; None where it is no linear or 2-D one."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            return module.weight.detach()
        if next((p for p in module.parameters(recurse=False) if p.ndim > 1), None) is not None:
            return None
    return None


def _kernels(weights: Tensor, shape: Sequence[int] | None) -> Weights | None:
    """Returns weights as images ``(units, 1 or 3, height, width)``."""
    if weights.ndim == 2:
        pixels = _image_shape(weights.shape[1], shape)
        if pixels is None:
            return None
        weights = weights[:MOST_TILES].reshape(-1, *pixels)
    if weights.shape[1] not in (1, 3) or not weights.numel():
        return None
    kernels: Weights = weights[:MOST_TILES].float().cpu().numpy()
    return kernels


def _image_shape(inputs: int, shape: Sequence[int] | None) -> tuple[int, ...] | None:
    if shape is not None:
        image = (1, *shape) if len(shape) == 2 else tuple(shape)
        return image if len(image) == 3 and math.prod(image) == inputs else None
    for channels in (1, 3):
        side = math.isqrt(inputs // channels)
        if side > 1 and channels * side * side == inputs:
            return channels, side, side
    return None


def _coloured(kernels: Weights, limit: float) -> Image:
    """Returns images ``(units, height, width, 3)``, by one scale."""
    steps = np.rint(127 * (1 + kernels / (limit or 1.0))).astype(np.uint8)  # 127 is zero
    image: Image = _COLOURS[steps[:, 0]] if kernels.shape[1] == 1 else steps.transpose(0, 2, 3, 1)
    return image


def _tiles(images: Image) -> Image:
    """Enlarges small images, and adds a gap below and to the right of each."""
    zoom = max(1, _TILE // max(images.shape[1:3]))
    enlarged = images.repeat(zoom, axis=1).repeat(zoom, axis=2)
    return np.pad(enlarged, ((0, 0), (0, _GAP), (0, _GAP), (0, 0)), constant_values=255)


def _draw_scale(line: Image, limit: float, *, grey: bool) -> None:
    steps = np.linspace(0, 254, _BAR).astype(np.uint8)
    left = (line.shape[1] - _BAR) // 2
    line[3:12, left : left + _BAR] = _COLOURS[steps] if grey else steps[:, None]
    write(line, (left - 4, 0), f"{-limit:.2g}", right=True)
    write(line, (left + _BAR + 4, 0), f"{limit:.2g}")
