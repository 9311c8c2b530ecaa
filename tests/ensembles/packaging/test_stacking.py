"""Members as one batched computation: the same scores, where they are of one architecture."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nnstudy import models
from nnstudy.ensembles.packaging.module import InTurn
from nnstudy.ensembles.packaging.stacking import Layout, Stacked, quickest


def several(make: Callable[[], nn.Module], count: int = 3) -> list[nn.Module]:
    """Networks with weights of their own, and statistics of their own in batch normalisation."""
    networks = [make() for _ in range(count)]
    for network in networks:
        network.train()
        network(torch.randn(16, *SHAPE))
        network.eval()
    return networks


SHAPE = (1, 8, 8)


class Odd(nn.Module):
    """Differs from others of its kind in something that is no weight."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 3)
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.linear(self.function(inputs.flatten(1)))
        return scores


@pytest.mark.parametrize(
    "make",
    [
        lambda: models.mlp(SHAPE, [8, 8], 3),
        lambda: models.convnet(SHAPE, 3),
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3)
        ),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Dropout(0.5), nn.Flatten(0)),
    ],
    ids=["perceptron", "convolutions", "batch normalisation", "one score"],
)
@settings(deadline=None, max_examples=5)
@given(examples=st.integers(1, 5))
def test_stacked_members_give_the_scores_of_members_in_turn(
    make: Callable[[], nn.Module], examples: int
) -> None:
    networks = several(make)
    inputs = torch.randn(examples, *SHAPE)
    in_turn, stacked = (kind(networks, classes=True) for kind in (InTurn, Stacked))
    torch.testing.assert_close(stacked(inputs), in_turn(inputs), rtol=1e-4, atol=1e-5)
    assert {name.split("_")[0] for name in stacked.state_dict()} == {"stacked"}


def test_the_quicker_way_is_chosen_by_what_was_measured() -> None:
    layout = quickest(
        several(lambda: models.mlp(SHAPE, [8], 3)), torch.randn(2, *SHAPE), classes=True
    )
    assert layout.why_not is None
    assert layout.speedup is not None
    assert layout.stacked == (layout.speedup > 1)
    assert 0.1 < layout.speedup < 10


class Branching(nn.Module):
    """Asks a value of its activations, which a batched computation cannot answer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.linear(inputs.flatten(1))
        return scores if bool(scores.sum() > 0) else -scores


@pytest.mark.parametrize(
    ("networks", "why_not"),
    [
        ([models.mlp(SHAPE, [8], 3)], "there is one network"),
        ([models.mlp(SHAPE, [8], 3), models.mlp(SHAPE, [9], 3)], "of different architectures"),
        ([Odd(F.relu), Odd(torch.sin)], "something that is no weight"),
        ([Branching(), Branching()], "RuntimeError"),
    ],
)
def test_what_cannot_be_stacked_is_computed_in_turn_and_says_why(
    networks: list[nn.Module], why_not: str
) -> None:
    networks = [network.eval() for network in networks]
    layout = quickest(networks, torch.randn(4, *SHAPE), classes=True)
    assert not layout.stacked
    assert layout.speedup is None
    assert why_not in str(layout.why_not)
    assert isinstance(layout.arrange(networks, classes=True), InTurn)


def test_whatever_was_measured_is_kept_to() -> None:
    networks = several(lambda: models.mlp(SHAPE, [8], 3))
    assert isinstance(Layout(stacked=True, speedup=2.0).arrange(networks, classes=True), Stacked)
