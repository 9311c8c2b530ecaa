"""What ``torch.export`` makes of an ensemble, and what it says where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nnstudy import models
from nnstudy.ensembles.packaging.exporting import export
from nnstudy.ensembles.packaging.module import (
    ClassCombination,
    EnsembleModule,
    InTurn,
    Normalise,
    NumberCombination,
)
from nnstudy.errors import UserError


class Branching(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs if bool(inputs.sum() > 0) else -inputs


def test_numbers_are_exported_for_any_number_of_examples(tmp_path: Path) -> None:
    networks = [models.mlp((3,), [4], 1).eval() for _ in range(2)]
    combine = NumberCombination(torch.ones(2), 0.1, None)
    module = EnsembleModule(Normalise(None), InTurn(networks, classes=False), combine)
    export(module, torch.randn(2, 3), tmp_path / "numbers.pt2")
    program = torch.export.load(tmp_path / "numbers.pt2").module()
    for count in (1, 7):
        inputs = torch.randn(count, 3)
        for name, values in module(inputs).items():
            torch.testing.assert_close(program(inputs)[name], values)
    assert [file.name for file in tmp_path.iterdir()] == ["numbers.pt2"]


def test_a_network_that_cannot_be_exported_is_told_with_the_reason(tmp_path: Path) -> None:
    combine = ClassCombination(torch.ones(1), ["softmax"], "probabilities", 1.0)
    module = EnsembleModule(Normalise(None), InTurn([Branching()], classes=True), combine)
    with pytest.raises(UserError, match=r"cannot be exported: \w+: .*"):
        export(module, torch.randn(2, 3), tmp_path / "x.pt2")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    combine = ClassCombination(torch.ones(1), ["softmax"], "probabilities", 1.0)
    network = models.mlp((3,), [4], 2).eval()
    module = EnsembleModule(Normalise(None), InTurn([network], classes=True), combine)
    with pytest.raises(UserError, match="cannot be written to"):
        export(module, torch.randn(2, 3), tmp_path / "file" / "x.pt2")
