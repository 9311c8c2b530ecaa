"""Residual networks from torchvision, fit for small images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from nnstudy.errors import UserError
from nnstudy.models.arguments import check_sizes, image_shape

DEPTHS = (18, 34, 50, 101, 152)

SMALL = 64
"""Images whose shorter side is below this many pixels are not halved twice at the start."""


def resnet(shape: Sequence[int], outputs: int, depth: int = 18) -> nn.Module:
    """Makes torchvision's residual network with untrained weights.

    The first convolution of torchvision's networks and the pooling behind it reduce an image
    sixteenfold, which leaves little of a small one. He et al. 2016, section 4.2, start with
    a 3 x 3 convolution of stride 1 and no pooling on CIFAR-10; so does this for small images.

    Args:
        shape: Shape of one image, (channels, height, width).
        outputs: Number of outputs, which are linear: ``(N, outputs)``.
        depth: Layers: 18, 34, 50, 101 or 152.

    Returns:
        A ``torchvision.models.ResNet``.

    Raises:
        UserError: If the input is no image or there is no such depth.
    """
    channels, height, width = image_shape("resnet", shape)
    check_sizes("resnet", outputs=[outputs])
    if depth not in DEPTHS:
        raise UserError(f"resnet(depth=...) must be one of {DEPTHS}, got {depth}")
    from torchvision.models import get_model  # slow to import, and few studies need it

    network: nn.Module = get_model(f"resnet{depth}", weights=None, num_classes=outputs)
    small = min(height, width) < SMALL
    if small:
        first = nn.Conv2d(channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
        network.maxpool = nn.Identity()
    else:
        first = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    # As torchvision initialises the convolution that this one replaces.
    nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    network.conv1 = first
    return network
