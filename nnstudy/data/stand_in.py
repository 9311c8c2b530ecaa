"""What stands for the data where there are none, so that a recipe can be asked again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, Self

import torch
from torch import Tensor

from nnstudy.data.data import Data
from nnstudy.data.normalisation import Normalisation
from nnstudy.data.parts import Part
from nnstudy.data.split import Split, Subset
from nnstudy.errors import UserError


class StandIn(Part):
    """A part of which only the shape of an input and the number of examples are known.

    Whatever else is asked of it raises a UserError that says so.
    """

    def __init__(self, name: str, shape: tuple[int, ...], examples: int) -> None:
        self.normalisation = None
        self._name = name
        self._shape = shape
        self._examples = examples

    def __len__(self) -> int:
        """Returns the number of examples that there were."""
        return self._examples

    def __getattr__(self, name: str) -> NoReturn:
        """Says that targets, or whatever another part has, are not here."""
        if name.startswith("_"):
            raise AttributeError(name)
        self._refuse(name)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self._shape

    def to(self, device: torch.device | str) -> Self:
        """Returns the part: it has nothing that could be moved."""
        return self

    def minibatches(self, *args: Any, **options: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Raises UserError."""
        self._refuse("minibatches()")

    def take(self, index: Tensor) -> Part:
        """Raises UserError."""
        self._refuse("take()")

    def raw_inputs(self, limit: int | None = None) -> Iterator[Tensor]:
        """Raises UserError."""
        self._refuse("raw_inputs()")

    def normalised(self, normalisation: Normalisation | None) -> Part:
        """Raises UserError."""
        self._refuse("normalised()")

    def normalised_anew(self, fitted: Normalisation | None) -> Part:
        """Raises UserError."""
        self._refuse("normalised_anew()")

    def with_targets(self, targets: Tensor) -> Part:
        """Raises UserError."""
        self._refuse("with_targets()")

    def joined(self, other: Part) -> Part:
        """Raises UserError."""
        self._refuse("joined()")

    def add_to(self, digest: Any) -> None:
        """Raises UserError."""
        self._refuse("add_to()")

    def _refuse(self, what: str) -> NoReturn:
        raise UserError(
            f"the recipe reads data.{self._name}.{what}, and its networks are to be rebuilt where"
            " there are no data. Let it read only what stays known: the shape, classes, outputs,"
            " class_names and normalisation of the data, and the number of examples of a part."
            " What else a network needs can be a parameter or a constant of the study file"
        )


def stand_in(
    facts: Mapping[str, Any],
    normalisation: Normalisation | None,
    target_normalisation: Normalisation | None,
) -> Data:
    """Returns data without examples.

    Args:
        facts: What ``Data.describe`` told.
        normalisation: What was fitted to the training inputs.
        target_normalisation: Likewise to targets that are numbers.
    """
    parts = {
        part: StandIn(part, tuple(facts["shape"]), examples)
        for part, examples in facts["examples"].items()
    }
    classes = facts["subset"]["classes"]
    return Data(
        name=facts["name"],
        train=parts["train"],
        validation=parts["validation"],
        selection=parts["selection"],
        task=facts["task"],
        classes=facts["classes"],
        outputs=facts["outputs"],
        class_names=tuple(facts["class_names"]),
        normalise=facts["normalise"],
        normalisation=normalisation,
        target_normalisation=target_normalisation,
        split=Split(**facts["split"]),
        subset=Subset(**{**facts["subset"], "classes": tuple(classes) if classes else None}),
        digest=facts["digest"],
        _test=parts["test"],
    )
