from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nnstudy.diagnostics import (
    Histogram,
    first_layer_picture,
    gradient_histograms,
    histogram_picture,
)

RED, WHITE, BLUE = [178, 24, 43], [255, 255, 255], [33, 102, 172]


def linear(weights: torch.Tensor) -> nn.Sequential:
    layer = nn.Linear(weights[0].numel(), len(weights))
    layer.weight.data = weights.flatten(1).clone()
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), nn.Linear(len(weights), 2))


def test_each_unit_is_a_tile_and_each_weight_a_square_of_pixels() -> None:
    weights = torch.zeros(10, 1, 8, 8)
    weights[0, 0, 2, 3] = 0.5
    weights[3, 0, 7, 0] = -0.5
    weights[9, 0, 0, 7] = 0.25
    picture = first_layer_picture(linear(weights), (1, 8, 8))
    assert picture is not None
    # Tiles of 8 x 5 pixels a weight and a gap of two; eight in a row; the scale's line.
    assert picture.shape == (2 * 42 + 16, 8 * 42, 3)
    assert picture.dtype == np.uint8
    tiles = picture[: 2 * 42]
    coloured = np.argwhere((tiles != 255).any(2))
    assert len(coloured) == 3 * 25
    assert (tiles[10:15, 15:20] == BLUE).all()
    assert (tiles[35:40, 3 * 42 : 3 * 42 + 5] == RED).all()
    half = np.rint(np.mean([WHITE, BLUE], axis=0))
    assert np.abs(tiles[42:47, 42 + 35 : 42 + 40] - half).max() <= 1


def test_all_tiles_share_one_scale_that_is_symmetric_about_zero() -> None:
    weights = torch.zeros(2, 1, 8, 8)
    weights[0], weights[1] = 0.01, -1.0
    picture = first_layer_picture(linear(weights))
    assert picture is not None
    assert (picture[:40, 42:82] == RED).all()
    faint = picture[0, 0].astype(int)
    assert (np.abs(faint - 255) <= 3).all()
    assert (faint != 255).any()


def test_scale_is_written_below() -> None:
    strips = []
    for largest in (1.0, 0.5, 0.5):
        weights = torch.zeros(8, 1, 8, 8)
        weights[0, 0, 0, 0] = largest
        picture = first_layer_picture(linear(weights))
        assert picture is not None
        strips.append(picture[-16:])
    assert (strips[0] != strips[1]).any()
    assert (strips[1] == strips[2]).all()
    bar = strips[0][8, 138:198]
    assert bar[0].tolist() == RED
    assert bar[-1].tolist() == BLUE


def test_kernels_of_three_channels_are_coloured_and_grey_at_zero() -> None:
    model = nn.Sequential(nn.Conv2d(3, 70, 5), nn.Conv2d(70, 2, 3))
    nn.init.zeros_(model[0].weight)
    with torch.no_grad():
        model[0].weight[1, :, 0, 0] = torch.tensor([2.0, 0.0, -2.0])
    picture = first_layer_picture(model, (3, 32, 32))
    assert picture is not None
    assert picture.shape == (8 * 42 + 16, 8 * 42, 3)  # 64 of the 70
    assert (picture[:8, 42:50] == [254, 127, 0]).all()
    assert (picture[8:40, 42:82] == 127).all()


def test_shape_is_guessed_for_squares_and_followed_where_it_is_given() -> None:
    assert first_layer_picture(nn.Linear(784, 3)) is not None
    coloured = first_layer_picture(nn.Linear(3 * 32 * 32, 3))
    assert coloured is not None
    assert len(np.unique(coloured[:32, :32].reshape(-1, 3), axis=0)) > 1000
    wide = first_layer_picture(nn.Linear(4 * 20, 1), (4, 20))
    assert wide is not None
    assert wide.shape == (4 * 2 + 2 + 16, 160, 3)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Linear(10, 3), None),
        (nn.Linear(100, 3), (100,)),
        (nn.Linear(100, 3), (1, 8, 8)),
        (nn.Conv2d(5, 3, 3), (5, 8, 8)),
        (nn.LSTM(8, 3), (8, 8)),
        (nn.Sequential(nn.Embedding(9, 64), nn.Linear(64, 3)), None),
        (nn.ReLU(), None),
    ],
)
def test_what_is_no_image_gives_no_picture(model: nn.Module, shape: tuple[int, ...] | None) -> None:
    assert first_layer_picture(model, shape) is None


def test_weights_that_are_zero_or_not_finite() -> None:
    picture = first_layer_picture(linear(torch.zeros(2, 1, 8, 8)))
    assert picture is not None
    assert (picture[:40, :82] == 255).all()
    assert first_layer_picture(linear(torch.full((2, 1, 8, 8), torch.nan))) is None


def test_histograms_count_what_numpy_counts() -> None:
    values = torch.randn(5000, generator=torch.Generator().manual_seed(1))
    histogram = Histogram.of(torch.cat([values, torch.tensor([torch.nan, torch.inf])]))
    counts, edges = np.histogram(values.numpy(), 40)
    assert histogram.counts.tolist() == counts.tolist()
    assert (histogram.low, histogram.high) == pytest.approx((edges[0], edges[-1]))
    assert Histogram.of(torch.full((7,), 3.0)).counts.sum() == 7
    assert Histogram.of(torch.empty(0)).counts.sum() == 0


def test_gradients_are_those_that_the_parameters_hold() -> None:
    model = nn.Sequential(nn.Linear(400, 100), nn.Linear(100, 2), nn.Linear(2, 2))
    model[1](model[0](torch.randn(9, 400))).sum().backward()
    histograms = gradient_histograms(model)
    assert list(histograms) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    gradient = model[0].bias.grad
    assert histograms["0.bias"].low == float(gradient.min())
    assert histograms["0.bias"].counts.sum() == 100
    assert 10_000 < histograms["0.weight"].counts.sum() <= 2**14


def test_bars_of_a_histogram_stand_at_their_places() -> None:
    counts = np.zeros(40, dtype=np.int64)
    counts[3], counts[20] = 8, 4
    picture = histogram_picture(
        {"layer": Histogram(counts, -1.0, 3.0), "b": Histogram(counts, 0, 1)}
    )
    assert picture.shape == (78, 340, 3)
    bars = (picture[14:54, :160] == [43, 108, 176]).all(2)
    assert bars.sum(0)[12:16].tolist() == [40] * 4
    assert bars.sum(0)[80:84].tolist() == [20] * 4
    assert bars.sum() == 4 * 60
    zero = (picture[14:54, :160] == [200, 60, 60]).all(2)
    assert zero.any(0).nonzero()[0].tolist() == [40]
    assert not (picture[14:54, 170:330] == [200, 60, 60]).all(2).any()


def test_many_histograms_and_none_give_a_picture() -> None:
    one = Histogram(np.ones(40, dtype=np.int64), 0.0, 1.0)
    assert histogram_picture({str(i): one for i in range(100)}).shape == (16 * 78, 680, 3)
    assert histogram_picture({}).shape == (1, 1, 3)
