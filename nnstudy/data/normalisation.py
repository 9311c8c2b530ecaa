"""What is done to inputs before a network sees them, fitted on training data alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Mode = Literal["standardise", "unit", "none"]
Augmentation = Callable[[Tensor], Tensor]

_BYTE = 255.0


@dataclass(frozen=True)
class Normalisation:
    """Maps raw inputs to ``(raw / full_scale - mean) / std``.

    Attributes:
        mean: What is subtracted, float64, shaped to broadcast against a minibatch.
        std: What is divided by, likewise; 1 where the training data are constant.
        full_scale: 255 for bytes, which so become numbers in [0, 1]; 1 for other numbers.
    """

    mean: Tensor
    std: Tensor
    full_scale: float = 1.0

    @classmethod
    def fit(cls, chunks: Iterable[Tensor], mode: Mode) -> Normalisation | None:
        """Fits to training examples.

        Images (at least four dimensions, channels second) get one mean and one std per
        channel, all other inputs one per feature, which is their last dimension. The std is
        that of the population. Integers other than bytes are taken for indices (of words,
        say) and left alone.

        Args:
            chunks: Raw training inputs, in pieces of one or more examples.
            mode: "standardise" to mean 0 and std 1; "unit" to [0, 1], by 255 for bytes and by
                the least and the largest training value per channel or feature for other
                numbers; "none" leaves numbers as they are.

        Returns:
            The normalisation, or None where nothing is to be done.
        """
        pieces = iter(chunks)
        first = next(pieces)
        is_byte = first.dtype == torch.uint8
        if mode == "none" or not (is_byte or first.is_floating_point()):
            return None
        moments = _Moments(first)
        if mode == "unit" and is_byte:
            nothing = torch.zeros_like(moments.origin)
            return cls(nothing, nothing + 1, _BYTE)
        for chunk in pieces:
            moments.add(chunk)
        if mode == "unit":
            return cls(moments.low, _positive(moments.high - moments.low))
        full_scale = _BYTE if is_byte else 1.0
        return cls(moments.mean / full_scale, _positive(moments.std / full_scale), full_scale)

    def standardise(self, scaled: Tensor) -> Tensor:
        """Returns ``(scaled - mean) / std`` in the precision of ``scaled``."""
        return (scaled - self.mean.to(scaled)).div_(self.std.to(scaled))

    def restore(self, standardised: Tensor) -> Tensor:
        """Undoes ``standardise``."""
        return (standardised * self.std.to(standardised)).add_(self.mean.to(standardised))

    def after(self, first: Normalisation | None) -> Normalisation:
        """Returns the one normalisation that does what ``first`` and then this one do."""
        if first is None:
            return self
        return Normalisation(
            first.mean + first.std * self.mean, first.std * self.std, first.full_scale
        )

    def from_raw(self, device: torch.device, augmentation: Augmentation | None) -> Augmentation:
        """Returns the function that takes raw minibatches to what the network gets.

        Args:
            device: Where the minibatches will be.
            augmentation: Applied to the numbers in [0, 1], before they are standardised.
        """
        mean = self.mean.to(device, torch.float32)
        std = self.std.to(device, torch.float32)
        full_scale = self.full_scale
        if augmentation is not None:
            return lambda raw: (augmentation(raw.float().div(full_scale)) - mean).div_(std)
        scale, shift = 1 / (full_scale * std), -mean / std
        # Converting first is faster than a product of bytes and floats; the copy is ours to change.
        if not self.mean.any():
            return lambda raw: raw.to(torch.float32, copy=True).mul_(scale)
        return lambda raw: raw.to(torch.float32, copy=True).mul_(scale).add_(shift)

    def to_dict(self) -> dict[str, Any]:
        """Returns mean, std (nested lists, of their shape) and full scale as JSON-ready values."""
        return {
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "full_scale": self.full_scale,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Normalisation:
        """Makes the normalisation that ``to_dict`` gave."""
        mean, std = (torch.tensor(fields[name], dtype=torch.float64) for name in ("mean", "std"))
        return cls(mean, std, fields["full_scale"])


class _Moments:
    """Count, sums and extremes per channel or feature, gathered in one pass in float64.

    Sums are taken about the first example, so that constants give a std of exactly 0 and
    nothing is lost where the values are large and their spread is small.
    """

    def __init__(self, first: Tensor) -> None:
        channel = 1 if first.ndim >= 4 else first.ndim - 1
        self._reduced = tuple(d for d in range(first.ndim) if d != channel)
        shape = [1] * (first.ndim - 1)
        shape[channel - 1] = first.shape[channel]
        corner = first.movedim(channel, 0).flatten(1)[:, 0]
        self.origin = corner.to(torch.float64).view(shape)
        self.low = self.high = self.origin
        self._count = 0
        self._sum = torch.zeros_like(self.origin)
        self._squares = torch.zeros_like(self.origin)
        self.add(first)

    def add(self, chunk: Tensor) -> None:
        away = chunk.to(torch.float64) - self.origin
        self._count += away.numel() // self.origin.numel()
        self._sum += away.sum(self._reduced).view_as(self.origin)
        self._squares += away.square().sum(self._reduced).view_as(self.origin)
        self.low = self.low.minimum(self.origin + away.amin(self._reduced).view_as(self.origin))
        self.high = self.high.maximum(self.origin + away.amax(self._reduced).view_as(self.origin))

    @property
    def mean(self) -> Tensor:
        return self.origin + self._sum / self._count

    @property
    def std(self) -> Tensor:
        about_origin = self._sum / self._count
        return (self._squares / self._count - about_origin.square()).clamp(min=0).sqrt()


def _positive(spread: Tensor) -> Tensor:
    """Replaces the spread of constants, which is 0, by 1."""
    return torch.where(spread > 0, spread, 1.0)
