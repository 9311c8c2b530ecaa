"""What an ensemble answers to somebody's inputs, a row for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from nnstudy.data.examples import as_inputs, require_finite
from nnstudy.ensembles.packaging.module import (
    DISAGREEMENT,
    ENTROPY,
    MEAN,
    PROBABILITIES,
    STD,
    EnsembleModule,
)
from nnstudy.ensembles.packaging.package import Kind, Package
from nnstudy.errors import UserError
from nnstudy.training.devices import resolve_device
from nnstudy.training.evaluation import evaluation_batch_size

if TYPE_CHECKING:
    import pandas as pd

CLASS, CLASS_NAME = "class", "class_name"

DTYPES: dict[Kind, Any] = {"bytes": np.uint8, "numbers": np.float64, "indices": np.int64}
"""What raw inputs are handed over as."""


@dataclass(frozen=True)
class Answerer:
    """An ensemble that was read from its package, ready to answer.

    Attributes:
        package: Its description.
        module: It.
        device: Where it computes.
    """

    package: Package
    module: EnsembleModule
    device: torch.device

    @classmethod
    def load(cls, directory: Path, say: Callable[[str], None], device: str = "cpu") -> Answerer:
        """Reads a package and rebuilds its networks; see ``Package.build``."""
        package = Package.load(directory)
        resolved = resolve_device(device)
        return cls(package, package.build(directory, say, str(resolved)), resolved)

    def answer(self, inputs: Any) -> pd.DataFrame:
        """Answers inputs as the data's source gives them.

        Args:
            inputs: ``(N, ...)``, a tensor, an array, a data frame or nested lists.

        Returns:
            A row for each. Of classes ``class`` (from 0), ``class_name``, ``probabilities`` (a
            list), and ``entropy`` and ``disagreement`` in nats; of numbers the lists ``mean``,
            ``std`` and ``disagreement``, in the units of the targets as they came.

        Raises:
            UserError: If they are not of the shape or the kind that the networks were trained on.
        """
        import pandas as pd

        given = self._answers(self.checked(inputs))
        if not self.package.classes:
            return pd.DataFrame({name: given[name].tolist() for name in (MEAN, STD, DISAGREEMENT)})
        probabilities = given[PROBABILITIES]
        chosen = probabilities.argmax(1)
        names = self.package.class_names
        return pd.DataFrame(
            {
                CLASS: chosen.numpy(),
                CLASS_NAME: [names[index] for index in chosen.tolist()],
                PROBABILITIES: probabilities.tolist(),
                ENTROPY: given[ENTROPY].numpy(),
                DISAGREEMENT: given[DISAGREEMENT].numpy(),
            }
        )

    def checked(self, inputs: Any) -> Tensor:
        """Returns inputs as a tensor of the kind that the networks were trained on."""
        given = as_inputs(inputs)
        shape = tuple(self.package.data["shape"])
        if tuple(given.shape[1:]) != shape or given.ndim == 0:
            raise UserError(
                f"the inputs have the shape {tuple(given.shape)}; the ensemble of study"
                f" {self.package.study!r} takes {_written(shape)}"
            )
        if len(given) == 0:
            raise UserError("there are no inputs")
        require_finite(given, "inputs")
        return _of_kind(given, self.package.kind)

    @torch.inference_mode()
    def _answers(self, inputs: Tensor) -> dict[str, Tensor]:
        size = evaluation_batch_size(self.module, self.device)
        pieces = [self.module(piece.to(self.device)) for piece in torch.split(inputs, size)]
        return {name: torch.cat([one[name] for one in pieces]).cpu() for name in pieces[0]}


def _of_kind(given: Tensor, kind: Kind) -> Tensor:
    if kind == "numbers":
        if given.dtype == torch.uint8:
            raise UserError(
                "the inputs are bytes, and the study's data source gives numbers: do to them what"
                " it does, and hand over floats"
            )
        return given if given.is_floating_point() else given.double()
    if given.is_floating_point():
        wanted = "bytes, 0 to 255" if kind == "bytes" else "indices"
        kept = "uint8" if kind == "bytes" else "int64"
        raise UserError(
            f"the inputs are {str(given.dtype).removeprefix('torch.')}, and the ensemble takes"
            f" {wanted}: bring them to the scale of the study's own data, and to {kept}"
        )
    if kind == "bytes":
        if given.numel() and not 0 <= int(given.min()) <= int(given.max()) <= 255:
            raise UserError("the inputs are not bytes: they go beyond 0 to 255")
        return given.to(torch.uint8)
    return given.long()


def _written(shape: tuple[int, ...]) -> str:
    return f"(N, {', '.join(map(str, shape))})"
