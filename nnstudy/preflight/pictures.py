"""Examples of every class as a picture, exactly as the network gets them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnstudy.data import Data
from nnstudy.data.normalisation import Augmentation
from nnstudy.training.seeds import seed_everything

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXAMPLES = 8
"""Examples of each class."""
MOST_CLASSES = 20
BANDS = 5
"""Parts of equally many examples into which targets that are numbers are divided."""

_GAP = 1  # pixels between images
_INCHES = 0.75  # of an image

Array = NDArray[np.float64]


def examples_figure(data: Data, augmentation: Augmentation | None = None) -> Figure:
    """Draws training examples of every class after normalisation and augmentation.

    A row is a class, or a fifth of the examples by target where targets are numbers. Images are
    drawn in grey or colour, sequences as step by feature, features as one line of cells for
    each example; all on one scale, which is written beside them. So a picture tells at a
    glance whether labels belong to inputs, what normalisation did, and whether an augmentation
    leaves a digit legible.

    Args:
        data: The study's data.
        augmentation: A recipe's, or None. It draws from the global random state, which is
            seeded.
    """
    from matplotlib.figure import Figure

    seed_everything(0)
    groups = _groups(data)
    labels = [label for label, _ in groups]
    rows = [_inputs(data, index, augmentation) for _, index in groups]
    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    shape = rows[0].shape[1:]
    if len(shape) == 3:
        _draw_images(figure, axes, rows, labels)
    elif len(shape) == 2:
        _draw_images(figure, axes, [row[:, None] for row in rows], labels)
    else:
        _draw_features(figure, axes, [row.flatten(1) for row in rows], labels)
    values = torch.cat(rows)
    augmented = ", augmented" if augmentation else ""
    more = f", {len(labels)} of {data.classes} classes" if len(labels) < (data.classes or 0) else ""
    axes.set_ylabel("class" if data.task == "classification" else "target")
    axes.set_title(
        f"{data.name}: training examples as the network gets them{augmented}{more}\n"
        f"{_number(values.min())} to {_number(values.max())},"
        f" mean {_number(values.mean())}, standard deviation {_number(values.std())}",
        fontsize=9,
        loc="left",
    )
    return figure


def _groups(data: Data) -> list[tuple[str, Tensor]]:
    """Returns the rows of the picture: a label, and the positions of some examples."""
    targets = data.train.targets.cpu()
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(targets), generator=generator)
    if data.task == "classification":
        found = [
            (name, order[targets[order] == label][:EXAMPLES])
            for label, name in enumerate(data.class_names[:MOST_CLASSES])
        ]
        return [(name, index) for name, index in found if len(index)]
    first = targets.reshape(len(targets), -1)[:, 0]
    bands = torch.tensor_split(first.argsort(), BANDS)
    return [
        (
            f"{_number(first[band[0]])} to {_number(first[band[-1]])}",
            order[torch.isin(order, band)][:EXAMPLES],
        )
        for band in bands
        if len(band)
    ]


def _inputs(data: Data, index: Tensor, augmentation: Augmentation | None) -> Tensor:
    minibatches = data.train.minibatches(len(index), index, device="cpu", augmentation=augmentation)
    inputs, _ = next(iter(minibatches))
    return inputs.double()


def _draw_images(figure: Figure, axes: Axes, rows: Sequence[Tensor], labels: Sequence[str]) -> None:
    """Draws rows of ``(examples, channels, height, width)``."""
    low = float(min(row.min() for row in rows))
    high = float(max(row.max() for row in rows))
    channels = rows[0].shape[1]
    if channels not in (1, 3):  # side by side
        rows = [torch.cat(torch.split(row, 1, dim=1), dim=3) for row in rows]
    height, width = rows[0].shape[2] + _GAP, rows[0].shape[3] + _GAP
    mosaic = np.full((len(rows) * height - _GAP, EXAMPLES * width - _GAP, rows[0].shape[1]), np.nan)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            place = np.s_[i * height : (i + 1) * height - _GAP, j * width : (j + 1) * width - _GAP]
            mosaic[place] = image.movedim(0, 2).numpy()
    if channels == 3:
        scaled = (mosaic - low) / ((high - low) or 1.0)
        axes.imshow(np.nan_to_num(scaled, nan=1.0), interpolation="nearest")
        axes.set_xlabel(f"0 in the picture is {_number(low)}, 1 is {_number(high)}", fontsize=8)
    else:
        drawn = axes.imshow(
            mosaic[..., 0], cmap="gray", vmin=low, vmax=high, interpolation="nearest"
        )
        figure.colorbar(drawn, ax=axes, shrink=0.6)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([(i + 0.5) * height for i in range(len(rows))], labels)
    aspect = width / height
    figure.set_size_inches(EXAMPLES * _INCHES * max(1.0, aspect) + 2, len(rows) * _INCHES + 1)


def _draw_features(
    figure: Figure, axes: Axes, rows: Sequence[Tensor], labels: Sequence[str]
) -> None:
    """Draws rows of ``(examples, features)``, an example a line."""
    lines = torch.cat(list(rows)).numpy()
    drawn = axes.imshow(lines, cmap="viridis", aspect="auto", interpolation="nearest")
    figure.colorbar(drawn, ax=axes, shrink=0.6)
    ends = np.cumsum([len(row) for row in rows])
    for end in ends[:-1]:
        axes.axhline(end - 0.5, color="white", linewidth=2)
    middles = [end - len(row) / 2 - 0.5 for end, row in zip(ends, rows, strict=True)]
    axes.set_yticks(middles, labels)
    axes.set_xlabel("feature", fontsize=8)
    figure.set_size_inches(8, len(lines) * 0.15 + 1.5)


def _number(value: float | Tensor) -> str:
    return f"{float(value):.3g}"
