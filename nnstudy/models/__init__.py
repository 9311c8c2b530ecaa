"""Networks for studies and ways to initialise them."""

from __future__ import annotations

from nnstudy.models import initialisers
from nnstudy.models.convolutional import convnet
from nnstudy.models.initialisers import initialise
from nnstudy.models.parameters import weights
from nnstudy.models.perceptron import mlp
from nnstudy.models.recurrence import Recurrent, recurrent
from nnstudy.models.residual import resnet

__all__ = [
    "Recurrent",
    "convnet",
    "initialise",
    "initialisers",
    "mlp",
    "recurrent",
    "resnet",
    "weights",
]
