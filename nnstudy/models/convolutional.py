"""A small convolutional network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nnstudy.errors import UserError
from nnstudy.models.arguments import check_dropout, check_sizes, image_shape


def convnet(
    shape: Sequence[int],
    outputs: int,
    channels: Sequence[int] = (32, 64),
    dropout: float = 0.0,
    batch_norm: bool = True,
    units: int = 128,
) -> nn.Sequential:
    """Makes a small convolutional network: 3 x 3 convolutions, each halving the image.

    Pooling comes right after the convolution: normalisation and ReLU then see a quarter of
    the elements. Max-pooling and ReLU may change places without changing the result.

    Args:
        shape: Shape of one image, (channels, height, width).
        outputs: Number of outputs, which are linear: ``(N, outputs)``.
        channels: Filters of each convolution; the image must survive that many halvings.
        dropout: Share of the hidden units dropped in training, in [0, 1).
        batch_norm: Whether convolutions and the hidden layer are normalised.
        units: Units of the fully connected hidden layer.

    Returns:
        A ``Sequential`` whose layers are named ``conv1``, ..., ``hidden``, ``output``.

    Raises:
        UserError: If an argument is out of range or the image is too small.
    """
    inputs, height, width = image_shape("convnet", shape)
    check_sizes("convnet", channels=channels, units=[units], outputs=[outputs])
    check_dropout("convnet", dropout)
    halvings = len(channels)
    if not halvings or min(height, width) >> halvings == 0:
        raise UserError(
            f"convnet(channels={tuple(channels)}) halves the image {halvings} times, which images"
            f" of {height} x {width} do not allow; give 1 to {min(height, width).bit_length() - 1}"
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict(channels_last=ChannelsLast())
    for number, filters in enumerate(channels, start=1):
        # Batch norm has a shift of its own.
        layers[f"conv{number}"] = nn.Conv2d(inputs, filters, 3, padding=1, bias=not batch_norm)
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        if batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm2d(filters)
        layers[f"relu{number}"] = nn.ReLU()
        inputs = filters
    layers["flatten"] = nn.Flatten()
    features = inputs * (height >> halvings) * (width >> halvings)
    layers["hidden"] = nn.Linear(features, units, bias=not batch_norm)
    if batch_norm:
        layers["norm"] = nn.BatchNorm1d(units)
    layers["relu"] = nn.ReLU()
    if dropout:
        layers["dropout"] = nn.Dropout(dropout)
    layers["output"] = nn.Linear(units, outputs)
    return nn.Sequential(layers)


class ChannelsLast(nn.Module):
    """Lays images out with the channels last, which convolutions on a CPU are faster with.

    The layers behind it keep the layout. The weights are left as they are, so that whoever
    saves them need not care.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Returns the same images ``(N, C, H, W)`` in another layout."""
        return images.to(memory_format=torch.channels_last)
