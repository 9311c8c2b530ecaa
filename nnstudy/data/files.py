"""Inputs that somebody has in files: arrays, tables of numbers, pictures."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnstudy.errors import UserError

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".pgm", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Inputs:
    """Inputs as they came.

    Attributes:
        values: ``(N, ...)``.
        names: What each is called: a file, or its place from 0.
    """

    values: NDArray[Any]
    names: tuple[str, ...]


def read_inputs(path: Path, shape: tuple[int, ...]) -> Inputs:
    """Reads inputs from a file or a folder; nothing in it is run.

    Args:
        path: ``.npy`` or ``.npz`` (its array ``inputs``, or the only one); ``.csv`` of numbers,
            a row for each input, with or without a line of names; a picture, or a folder of
            pictures, by name.
        shape: Of one input, which tells whether pictures are grey or coloured.

    Raises:
        UserError: If there is nothing that can be read, or it is not of the shape.
    """
    if not path.exists():
        raise UserError(f"there is no file or folder {path}")
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
        if not found:
            raise UserError(f"there are no pictures ({', '.join(PICTURES)}) in {path}")
        return _pictures(found, shape)
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        return _pictures([path], shape)
    if suffix in (".npy", ".npz"):
        return _numbered(_fitted(_array(path), shape, path))
    if suffix == ".csv":
        return _numbered(_fitted(_table(path), shape, path))
    raise UserError(
        f"{path} is of a kind that is not read: give .npy, .npz, .csv, a picture, or a folder of"
        " pictures"
    )


def _numbered(values: NDArray[Any]) -> Inputs:
    return Inputs(values, tuple(map(str, range(len(values)))))


def _array(path: Path) -> NDArray[Any]:
    try:
        read = np.load(path, allow_pickle=False)
        if isinstance(read, np.ndarray):
            return read
        with read:
            names = list(read)
            chosen = "inputs" if "inputs" in names else names[0] if len(names) == 1 else None
            if chosen is None:
                raise UserError(
                    f"{path} has several arrays ({', '.join(names)}): call the one that is meant"
                    " inputs"
                )
            found: NDArray[Any] = read[chosen]
            return found
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read as an array of numbers: {error}") from error


def _table(path: Path) -> NDArray[Any]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except (OSError, UnicodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a table: {error}") from error
    if rows and not any(map(_is_number, rows[0][1])):
        rows = rows[1:]
    if not rows:
        raise UserError(f"there are no rows of numbers in {path}")
    width = len(rows[0][1])
    for number, row in rows:
        wrong = next((cell for cell in row if not _is_number(cell)), None)
        if wrong is not None or len(row) != width:
            what = f"{wrong!r} is no number" if wrong is not None else f"{len(row)} cells"
            raise UserError(f"{path}, line {number}: {what}; expected {width} numbers in each row")
    values = np.array([[float(cell) for cell in row] for _, row in rows])
    return values.astype(np.int64) if (values == values.round()).all() else values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _fitted(values: NDArray[Any], shape: tuple[int, ...], path: Path) -> NDArray[Any]:
    """Returns ``(N, *shape)`` of what is written shorter: one input, rows, grey pictures."""
    if values.shape == shape:
        return values[None]
    size = int(np.prod(shape))
    if values.ndim == 2 and values.shape[1] == size:
        return values.reshape(len(values), *shape)
    if shape[:1] == (1,) and values.shape[1:] == shape[1:]:
        return values[:, None]
    if values.shape[1:] != shape:
        raise UserError(
            f"{path} holds an array of shape {values.shape}; expected (N, "
            f"{', '.join(map(str, shape))})"
        )
    return values


def _pictures(files: list[Path], shape: tuple[int, ...]) -> Inputs:
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise UserError(
            f"pictures do not fit: one input has the shape {shape}, and not (1 or 3, height, width)"
        )
    return Inputs(
        np.stack([_picture(file, shape) for file in files]), tuple(file.name for file in files)
    )


def _picture(file: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    channels, height, width = shape
    try:
        with Image.open(file) as opened:
            picture = opened.convert("L" if channels == 1 else "RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UserError(f"{file} cannot be read as a picture: {error}") from error
    if picture.size != (width, height):
        raise UserError(
            f"{file} has {picture.width} x {picture.height} pixels; the networks take {width} x"
            f" {height}. Resize it as the pictures were that they learnt from"
        )
    values = np.asarray(picture, dtype=np.uint8)
    return values[None] if channels == 1 else np.moveaxis(values, -1, 0)
