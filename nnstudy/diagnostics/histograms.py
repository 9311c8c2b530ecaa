"""How numbers are distributed: activations and gradients, layer by layer, as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nnstudy.diagnostics.pictures import Image, blank, stacked, write

BINS = 40
_SAMPLE = 2**14  # values that a histogram is made of, at most
_MOST_PANELS = 64
_COLUMNS = 4
_WIDTH, _HEIGHT = 4 * BINS, 40  # of the bars of one panel, in pixels
_MARGIN, _LINE = 10, 14
_BAR, _ZERO = (43, 108, 176), (200, 60, 60)


@dataclass(frozen=True)
class Histogram:
    """Counts of numbers in bins of equal width.

    Attributes:
        counts: Of each bin, ``(BINS,)``.
        low: The least number.
        high: The greatest one.
    """

    counts: NDArray[np.int64]
    low: float
    high: float

    @classmethod
    def of(cls, values: Tensor) -> Histogram:
        """Counts the finite ones of some numbers."""
        numbers = values.detach().flatten().float().cpu().numpy()
        numbers = numbers[np.isfinite(numbers)]
        if not numbers.size:
            return cls(np.zeros(BINS, dtype=np.int64), 0.0, 0.0)
        low, high = float(numbers.min()), float(numbers.max())
        # NumPy would widen a range of nothing by one half to both sides.
        counts, _ = np.histogram(numbers, BINS, (low, high) if low < high else (low - 1, low + 1))
        return cls(counts, low, high)


def gradient_histograms(model: nn.Module) -> dict[str, Histogram]:
    """Returns the distributions of the gradients that a model's parameters hold now.

    Args:
        model: After a ``backward``, before the gradients are set to zero.

    Returns:
        By the names of ``model.named_parameters()``; parameters without a gradient are missing.
        Of a large tensor, some 16,000 evenly spaced numbers are counted.
    """
    return {
        name: Histogram.of(sample(gradient.coalesce().values() if gradient.is_sparse else gradient))
        for name, parameter in model.named_parameters()
        if (gradient := parameter.grad) is not None
    }


def sample(values: Tensor) -> Tensor:
    """Copies some 16,000 numbers of a tensor, evenly spaced, or all where they are fewer."""
    stride = -(-values.numel() // _SAMPLE)
    # An odd one does not keep to the same few units, whose number is mostly even.
    return values.detach().flatten()[:: stride | 1 if stride > 1 else 1].clone()


def histogram_picture(histograms: Mapping[str, Histogram]) -> Image:
    """Draws histograms side by side, each with its name and range; a red line marks zero.

    Args:
        histograms: By name; the first 64 are drawn.

    Returns:
        Height, width and three colours, 0 to 255.
    """
    chosen = list(histograms.items())[:_MOST_PANELS]
    return stacked([_panel(name, histogram) for name, histogram in chosen], _COLUMNS)


def _panel(name: str, histogram: Histogram) -> Image:
    image = blank(_HEIGHT + 2 * _LINE + _MARGIN, _WIDTH + _MARGIN)
    bars = image[_LINE : _LINE + _HEIGHT, :_WIDTH]
    share = histogram.counts / max(1, histogram.counts.max())
    heights = np.ceil(share * _HEIGHT).repeat(_WIDTH // BINS)
    bars[np.arange(_HEIGHT)[::-1, None] < heights] = _BAR
    if histogram.low < 0 < histogram.high:
        zero = round(-histogram.low / (histogram.high - histogram.low) * (_WIDTH - 1))
        bars[::2, zero] = _ZERO
    longest = _WIDTH // 6
    write(image, (0, 0), name if len(name) <= longest else f"...{name[3 - longest :]}")
    write(image, (0, _LINE + _HEIGHT), f"{histogram.low:.2g}")
    write(image, (_WIDTH, _LINE + _HEIGHT), f"{histogram.high:.2g}", right=True)
    return image
