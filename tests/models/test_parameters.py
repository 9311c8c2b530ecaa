from __future__ import annotations

import torch
from torch import nn

from nnstudy import models


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.conv = nn.Conv2d(3, 3, 3)
        self.batch_norm = nn.BatchNorm2d(3)
        self.layer_norm = nn.LayerNorm((3, 3))
        self.lstm = nn.LSTM(3, 4, num_layers=1)
        self.attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)
        self.slope = nn.PReLU(3)
        self.own = nn.Parameter(torch.zeros(2, 2))


def test_weights_are_matrices_that_belong_to_no_normalisation_and_are_no_bias() -> None:
    network = Everything()
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert [names[id(weight)] for weight in models.weights(network)] == [
        "own",
        "linear.weight",
        "conv.weight",
        "lstm.weight_ih_l0",
        "lstm.weight_hh_l0",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    ]


def test_a_shared_weight_is_listed_once() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    assert len(models.weights(network)) == 1
