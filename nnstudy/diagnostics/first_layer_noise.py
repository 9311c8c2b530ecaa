"""How noisy the weights of a first layer are, where it looks at images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nnstudy.diagnostics.first_layer import first_weights

SMALLEST_SIDE = 5
"""Smaller kernels have hardly any inside: nearly all of their weights are at an edge."""


def first_layer_noise(model: nn.Module, shape: Sequence[int]) -> float | None:
    """Measures how much neighbouring weights of a network's first layer differ.

    It is Geary's C, a measure of spatial autocorrelation (R. C. Geary 1954, "The contiguity
    ratio and statistical mapping"): for the weights w of a unit over the pixels of a channel,

        C = mean (w_i - w_j)^2 over neighbouring pixels i, j  /  2 var(w)

    and the mean of C over units and channels. It is 1 for weights that were drawn independently,
    whatever their scale, and near 0 for smooth ones. Noise hints at a network that has not
    converged, a rate that is wrong or too little regularisation (CS231n, "Learning", section
    "First-layer Visualizations").

    Args:
        model: Its first linear or two-dimensional convolutional layer is looked at, in the order
            of ``model.modules()``.
        shape: Shape of one input: ``(channels, height, width)``.

    Returns:
        None where the inputs are no images, or the first layer is another one, or its kernels
        have a side of less than five pixels.
    """
    images = _images(model, shape)
    if images is None or min(images.shape[-2:]) < SMALLEST_SIDE:
        return None
    images = images.flatten(0, -3).double()
    steps = [images.diff(dim=1).flatten(1), images.diff(dim=2).flatten(1)]
    neighbours = torch.cat(steps, dim=1).square().mean(1)
    variances = images.flatten(1).var(1)
    ratios = (neighbours / (2 * variances))[variances > 0]
    noise = ratios.mean().item() if len(ratios) else math.nan
    return noise if math.isfinite(noise) else None


def _images(model: nn.Module, shape: Sequence[int]) -> Tensor | None:
    """Returns the weights as images ``(units, channels, height, width)``."""
    weights = first_weights(model)
    if weights is None or len(shape) != 3:
        return None
    if weights.ndim == 2:
        return weights.reshape(-1, *shape) if weights.shape[1] == math.prod(shape) else None
    return weights
