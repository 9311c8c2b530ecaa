"""Augmentation of whole minibatches of images, every example with its own draw.

torchvision's v2 transforms draw once for a whole minibatch, which turns every image of it by
the same angle. The ones below draw for each example and still work on the minibatch as a
whole; given equal parameters they agree with ``torchvision.transforms.v2.functional``. Where
one draw a minibatch is enough (noise, erasing, colours), use a v2 transform as it is, alone or
within ``compose``.

All draw from torch's global random state. Pixels from outside an image are 0, which is black,
since images are numbers in [0, 1] when they are augmented.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from nnstudy.errors import UserError

__all__ = ["affine", "compose", "crop", "elastic", "flip", "rotate", "shift"]

Step = Callable[[Tensor], Tensor]
Range = float | tuple[float, float]


def shift(pixels: int) -> Step:
    """Moves by whole pixels, up to so many in each direction, the vacated ones black.

    This is how Nielsen's book expands MNIST (by one pixel, chapter 3).
    """
    _require_not_negative("shift(pixels)", pixels)
    return _Shift(pixels)


def crop(padding: int) -> Step:
    """Pads by reflection and cuts out a window of the old size: the usual one for photographs.

    Args:
        padding: Pixels on each side, fewer than the image has; 4 for CIFAR-10.
    """
    _require_not_negative("crop(padding)", padding)
    return _Crop(padding)


def flip(p: float = 0.5) -> Step:
    """Mirrors left and right with probability ``p``."""
    if not 0 <= p <= 1:
        raise UserError(f"flip(p) must be a probability, got {p}")
    return _Flip(p)


def rotate(degrees: Range) -> Step:
    """Turns about the centre, with bilinear interpolation.

    Args:
        degrees: Counter-clockwise; one number ``d`` stands for the range from -d to d.
    """
    _require_rising("rotate(degrees)", degrees)
    return _Rotate(degrees)


def affine(
    degrees: Range = 0.0,
    shift: Range = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shear: Range = 0.0,
) -> Step:
    """Scales, shears, turns and moves, in this order, with bilinear interpolation.

    Args:
        degrees: Counter-clockwise; one number ``d`` stands for the range from -d to d.
        shift: Pixels, drawn for each of the two directions; fractions are possible.
        scale: Factors, least and largest; drawn uniformly.
        shear: Degrees by which the vertical edges are tilted.
    """
    if not 0 < scale[0] <= scale[1]:
        raise UserError(f"affine(scale) must be two rising factors above 0, got {scale}")
    for name, bounds in (("degrees", degrees), ("shift", shift), ("shear", shear)):
        _require_rising(f"affine({name})", bounds)
    return _Affine(degrees, shift, scale, shear)


def elastic(alpha: float, sigma: float) -> Step:
    """Distorts as if the image were of rubber (Simard, Steinkraus and Platt 2003, section 2).

    Each pixel is displaced by ``alpha`` times a field of uniform noise in [-1, 1] that was
    smoothed by a Gaussian of width ``sigma``, with bilinear interpolation.

    Args:
        alpha: Strength, in pixels; 34 to 38 on MNIST.
        sigma: Width, in pixels; 4 to 6 on MNIST.
    """
    if sigma <= 0:
        raise UserError(f"elastic(sigma) must be above 0, got {sigma}")
    _require_not_negative("elastic(alpha)", alpha)
    return _Elastic(alpha, sigma)


def compose(*steps: Step) -> Step:
    """Does one after the other; any function of a minibatch of images will do."""
    return _Compose(steps)


class _Augmentation:
    """Shows itself as it was made: ``rotate(degrees=10)``."""

    def __repr__(self) -> str:
        options = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self))  # type: ignore[arg-type]  # subclasses are dataclasses
        return f"{type(self).__name__[1:].lower()}({', '.join(options)})"


@dataclass(frozen=True, repr=False)
class _Shift(_Augmentation):
    pixels: int

    def __call__(self, images: Tensor) -> Tensor:
        return _random_window(_checked(self, images), self.pixels, "constant")


@dataclass(frozen=True, repr=False)
class _Crop(_Augmentation):
    padding: int

    def __call__(self, images: Tensor) -> Tensor:
        smallest = min(_checked(self, images).shape[-2:])
        if self.padding >= smallest:
            raise UserError(f"{self!r} needs images of more than {self.padding} pixels a side")
        return _random_window(images, self.padding, "reflect")


@dataclass(frozen=True, repr=False)
class _Flip(_Augmentation):
    p: float

    def __call__(self, images: Tensor) -> Tensor:
        chosen = torch.rand(len(_checked(self, images)), 1, 1, 1, device=images.device) < self.p
        return torch.where(chosen, images.flip(-1), images)


@dataclass(frozen=True, repr=False)
class _Rotate(_Augmentation):
    degrees: Range

    def __call__(self, images: Tensor) -> Tensor:
        turn = _draw(self.degrees, _checked(self, images)).deg2rad()
        nothing = torch.zeros_like(turn)
        return _warp(images, turn, nothing, nothing, nothing + 1, nothing)


@dataclass(frozen=True, repr=False)
class _Affine(_Augmentation):
    degrees: Range
    shift: Range
    scale: tuple[float, float]
    shear: Range

    def __call__(self, images: Tensor) -> Tensor:
        _checked(self, images)
        return _warp(
            images,
            turn=_draw(self.degrees, images).deg2rad(),
            right=_draw(self.shift, images),
            down=_draw(self.shift, images),
            scale=_draw(self.scale, images),
            shear=_draw(self.shear, images).deg2rad(),
        )


@dataclass(frozen=True, repr=False)
class _Elastic(_Augmentation):
    alpha: float
    sigma: float

    def __call__(self, images: Tensor) -> Tensor:
        count, _, height, width = _checked(self, images).shape
        noise = images.new_empty(count, 2, height, width).uniform_(-1, 1)
        # On images this small two products with a matrix are faster than a convolution.
        down, across = (_gaussian(size, self.sigma, images) for size in (height, width))
        pixels = self.alpha * (down @ noise @ across)
        grid = F.affine_grid(
            torch.eye(2, 3).to(images).expand(count, 2, 3),
            [count, 1, height, width],
            align_corners=False,
        )
        halves = images.new_tensor([width / 2, height / 2])
        return _sample(images, grid + pixels.permute(0, 2, 3, 1) / halves)


@dataclass(frozen=True, repr=False)
class _Compose(_Augmentation):
    steps: tuple[Step, ...]

    def __call__(self, images: Tensor) -> Tensor:
        for step in self.steps:
            images = step(images)
        return images

    def __repr__(self) -> str:
        return f"compose({', '.join(map(repr, self.steps))})"


def _require_not_negative(name: str, value: float) -> None:
    if value < 0:
        raise UserError(f"{name} must not be negative, got {value}")


def _require_rising(name: str, bounds: Range) -> None:
    low, high = _bounds(bounds)
    if low > high:
        raise UserError(f"{name} must be a range from low to high or not negative, got {bounds}")


def _bounds(bounds: Range) -> tuple[float, float]:
    return bounds if isinstance(bounds, tuple) else (-bounds, bounds)


def _checked(augmentation: _Augmentation, images: Tensor) -> Tensor:
    if images.ndim != 4 or not images.is_floating_point():
        raise UserError(
            f"{augmentation!r} needs images as floats (N, C, H, W), got {images.dtype} of shape"
            f" {tuple(images.shape)}"
        )
    return images


def _draw(bounds: Range, images: Tensor) -> Tensor:
    """Draws one number for each image."""
    return images.new_empty(len(images)).uniform_(*_bounds(bounds))


def _random_window(images: Tensor, margin: int, mode: str) -> Tensor:
    """Pads and cuts out of each image a window of its old size."""
    if margin == 0:
        return images
    count, _, height, width = images.shape
    here = images.device
    top, left = torch.randint(2 * margin + 1, (2, count, 1), device=here)
    rows = (top + torch.arange(height, device=here))[:, :, None]
    columns = (left + torch.arange(width, device=here))[:, None, :]
    padded = F.pad(images, [margin] * 4, mode=mode).permute(0, 2, 3, 1)
    examples = torch.arange(count, device=here)[:, None, None]
    return padded[examples, rows, columns].permute(0, 3, 1, 2).contiguous()


def _warp(
    images: Tensor, turn: Tensor, right: Tensor, down: Tensor, scale: Tensor, shear: Tensor
) -> Tensor:
    """Scales, shears (x), turns (counter-clockwise) and moves each image.

    A pixel p of the result comes from the place ``A (p - shift)``, in pixels from the centre,
    with ``A = scale^-1 shear^-1 rotation^-1``.
    """
    height, width = images.shape[-2:]
    cos, sin, tan = turn.cos(), turn.sin(), shear.tan()
    xx, xy = (cos + tan * sin) / scale, (tan * cos - sin) / scale
    yx, yy = sin / scale, cos / scale
    x0, y0 = -(xx * right + xy * down), -(yx * right + yy * down)
    # affine_grid counts from -1 to 1 across the image, whatever its height and width.
    matrix = torch.stack(
        [
            torch.stack([xx, xy * (height / width), x0 * (2 / width)], dim=-1),
            torch.stack([yx * (width / height), yy, y0 * (2 / height)], dim=-1),
        ],
        dim=-2,
    )
    return _sample(images, F.affine_grid(matrix, list(images.shape), align_corners=False))


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _gaussian(size: int, sigma: float, like: Tensor) -> Tensor:
    """The matrix that smooths a line of so many pixels, with zeros outside of it."""
    reach = max(size, int(6 * sigma) + 1)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).to(like)
    place = torch.arange(size, device=like.device)
    return weights[place[:, None] - place + reach]
