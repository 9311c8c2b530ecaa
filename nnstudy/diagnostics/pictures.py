"""Small pictures as arrays, drawn in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

Image = NDArray[np.uint8]
"""Height, width and three colours, 0 to 255."""

_INK = (60, 60, 60)
_FONT_SIZE = 11


def blank(height: int, width: int) -> Image:
    """Returns a white picture."""
    return np.full((height, width, 3), 255, dtype=np.uint8)


def stacked(tiles: Sequence[Image] | Image, columns: int) -> Image:
    """Lays tiles of one size out in rows, from left to right; one white pixel if there are none."""
    if not len(tiles):
        return blank(1, 1)
    height, width, _ = tiles[0].shape
    columns = min(columns, len(tiles))
    image = blank(-(-len(tiles) // columns) * height, columns * width)
    for number, tile in enumerate(tiles):
        top, left = number // columns * height, number % columns * width
        image[top : top + height, left : left + width] = tile
    return image


def write(image: Image, place: tuple[int, int], text: str, *, right: bool = False) -> None:
    """Writes a line of text into a picture.

    Args:
        image: Changed in place.
        place: From the left and from the top, in pixels, of the text's upper left corner.
        text: What is written.
        right: Whether the place is that of the upper right corner.
    """
    left, top = place
    ink = _ink(text)
    height = min(ink.shape[0], image.shape[0] - top)
    left = max(0, left - ink.shape[1] if right else left)
    width = min(ink.shape[1], image.shape[1] - left)
    area = image[top : top + height, left : left + width]
    np.minimum(area, ink[:height, :width], out=area)


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_FONT_SIZE)


def _ink(text: str) -> Image:
    _, _, right, bottom = _font().getbbox(text)
    canvas = Pillow.new("RGB", (int(right) + 1, int(bottom) + 1), "white")
    ImageDraw.Draw(canvas).text((0, 0), text, _INK, _font())
    return np.asarray(canvas)
