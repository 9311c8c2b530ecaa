"""Examples of every class, exactly as the network gets them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnstudy import datasets
from nnstudy.data import Data, Split, load
from nnstudy.preflight.pictures import EXAMPLES, MOST_CLASSES, examples_figure


def labelled(shape: tuple[int, ...], classes: int = 3, examples: int = 90, **options: Any) -> Data:
    """Inputs whose every number is their label."""
    targets = torch.arange(examples) % classes
    inputs = targets.float().reshape(-1, *[1] * len(shape)).expand(-1, *shape).clone()
    source = datasets.tensors(inputs, targets, name="labelled", normalise="none", **options)
    return load(source, Split(seed=1))


def drawn(figure: Any) -> tuple[Any, list[str]]:
    """The array that is drawn, and the labels of the rows."""
    axes = figure.axes[0]
    return axes.images[0].get_array(), [label.get_text() for label in axes.get_yticklabels()]


def test_a_row_of_images_is_a_class() -> None:
    data = labelled((1, 4, 4), class_names=("none", "one", "two"))
    array, labels = drawn(examples_figure(data))
    assert labels == ["none", "one", "two"]
    assert array.shape == (3 * 5 - 1, EXAMPLES * 5 - 1)
    for row in range(3):
        band = np.ma.compressed(np.ma.masked_invalid(array[row * 5 : row * 5 + 4]))
        assert len(band) == EXAMPLES * 16
        assert set(band) == {float(row)}


def test_the_scale_is_one_for_all_and_is_written() -> None:
    figure = examples_figure(labelled((1, 4, 4)))
    assert figure.axes[0].images[0].get_clim() == (0.0, 2.0)
    assert len(figure.axes) == 2  # the bar with its numbers
    assert "0 to 2, mean 1" in figure.axes[0].get_title(loc="left")


def test_normalisation_is_seen() -> None:
    inputs = torch.arange(90.0).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4).clone()
    data = load(datasets.tensors(inputs, torch.arange(90) % 3, name="ramp"), Split(seed=1))
    low, high = examples_figure(data).axes[0].images[0].get_clim()
    assert -2 < low < -1 < 1 < high < 2


def test_augmentation_is_seen() -> None:
    def inverted(images: Tensor) -> Tensor:
        return -images

    array, _ = drawn(examples_figure(labelled((1, 4, 4)), inverted))
    assert np.nanmin(array) == -2
    assert "augmented" in examples_figure(labelled((1, 4, 4)), inverted).axes[0].get_title("left")


def test_colours_are_drawn_on_one_scale_for_all_channels() -> None:
    data = labelled((3, 4, 4))
    array, _ = drawn(examples_figure(data))
    assert array.shape[2] == 3
    np.testing.assert_allclose(array[0, 0], 0)
    np.testing.assert_allclose(array[5, 0], 0.5)
    np.testing.assert_allclose(array[10, 0], 1)
    assert "0 in the picture is 0, 1 is 2" in examples_figure(data).axes[0].get_xlabel()


def test_channels_that_are_no_colours_stand_side_by_side() -> None:
    array, _ = drawn(examples_figure(labelled((2, 4, 4))))
    assert array.shape == (3 * 5 - 1, EXAMPLES * 9 - 1)


def test_a_sequence_is_a_picture_of_steps_by_features() -> None:
    array, _ = drawn(examples_figure(labelled((6, 2))))
    assert array.shape == (3 * 7 - 1, EXAMPLES * 3 - 1)


def test_features_are_lines_of_cells() -> None:
    array, labels = drawn(examples_figure(labelled((5,))))
    assert array.shape == (3 * EXAMPLES, 5)
    assert [set(array[i * EXAMPLES : (i + 1) * EXAMPLES].flat) for i in range(3)] == [
        {0.0},
        {1.0},
        {2.0},
    ]
    assert labels == ["0", "1", "2"]


def test_targets_that_are_numbers_are_divided_into_fifths() -> None:
    targets = torch.arange(100.0)
    data = load(
        datasets.tensors(
            targets[:, None], targets, name="line", normalise="none", standardise_targets=False
        ),
        Split(validation=0.2, test=0.2, seed=1),
    )
    array, labels = drawn(examples_figure(data))
    assert len(labels) == 5
    for number, label in enumerate(labels):
        low, high = map(float, label.split(" to "))
        band = array[number * EXAMPLES : (number + 1) * EXAMPLES]
        assert np.all((band >= low) & (band <= high))


def test_of_many_classes_the_first_are_drawn_and_that_is_said() -> None:
    figure = examples_figure(labelled((2,), classes=30, examples=600))
    assert len(drawn(figure)[1]) == MOST_CLASSES
    assert f"{MOST_CLASSES} of 30 classes" in figure.axes[0].get_title(loc="left")


def test_the_same_data_give_the_same_picture() -> None:
    def noisy(images: Tensor) -> Tensor:
        return images + torch.randn(images.shape)

    data = labelled((1, 4, 4))
    first, second = (drawn(examples_figure(data, noisy))[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
