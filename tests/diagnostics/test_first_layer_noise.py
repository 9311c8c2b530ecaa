from __future__ import annotations

import pytest
import torch
from torch import nn

from nnstudy.diagnostics import first_layer_noise

SHAPE = (1, 28, 28)


def linear(images: torch.Tensor) -> nn.Sequential:
    layer = nn.Linear(images[0].numel(), len(images))
    layer.weight.data = images.flatten(1)
    return nn.Sequential(nn.Flatten(), layer)


def random_images(seed: int = 0) -> torch.Tensor:
    return torch.randn(50, *SHAPE, generator=torch.Generator().manual_seed(seed))


def smooth_images() -> torch.Tensor:
    return nn.functional.avg_pool2d(random_images(), 7, stride=1, padding=3)


def test_random_weights_have_a_noise_of_one_and_smooth_ones_next_to_none() -> None:
    noisy, smooth = (
        first_layer_noise(linear(images), SHAPE) for images in (random_images(), smooth_images())
    )
    assert noisy == pytest.approx(1, abs=0.02)
    assert smooth is not None
    assert smooth < 0.2


def test_noise_is_gearys_ratio_computed_pair_by_pair() -> None:
    image = random_images()[:1, :, :6, :5].double()
    pixels = image[0, 0]
    squares = [
        float((pixels[i, j] - pixels[i + di, j + dj]) ** 2)
        for i in range(6)
        for j in range(5)
        for di, dj in ((0, 1), (1, 0))
        if i + di < 6 and j + dj < 5
    ]
    expected = sum(squares) / len(squares) / (2 * float(pixels.var()))
    noise = first_layer_noise(linear(image), (1, 6, 5))
    assert noise == pytest.approx(expected, rel=1e-6)


def test_neither_scale_nor_offset_of_the_weights_matters() -> None:
    plain = first_layer_noise(linear(smooth_images()), SHAPE)
    moved = first_layer_noise(linear(1000 * smooth_images().double() + 5), SHAPE)
    assert moved == pytest.approx(plain, rel=1e-3)


def test_large_kernels_are_looked_at_and_small_ones_are_not() -> None:
    network = nn.Sequential(nn.Conv2d(3, 64, 7), nn.Flatten())
    assert first_layer_noise(network, (3, 32, 32)) == pytest.approx(1, abs=0.05)
    assert first_layer_noise(nn.Sequential(nn.Conv2d(3, 64, 3)), (3, 32, 32)) is None


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (nn.Sequential(nn.Linear(10, 5)), (10,)),
        (nn.Sequential(nn.Linear(10, 5)), SHAPE),
        (nn.Sequential(nn.LSTM(28, 5)), (28, 28)),
        (nn.Sequential(nn.Embedding(10, 784), nn.Linear(784, 5)), SHAPE),
        (nn.Flatten(), SHAPE),
        (linear(torch.zeros(2, *SHAPE)), SHAPE),
        (linear(torch.full((2, *SHAPE), torch.nan)), SHAPE),
    ],
)
def test_what_is_no_image_has_no_noise(network: nn.Module, shape: tuple[int, ...]) -> None:
    assert first_layer_noise(network, shape) is None
