"""Reading a map-style dataset: into memory where it fits, else through a ``DataLoader``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from nnstudy.data.examples import as_input, as_targets, require_finite, stack_inputs
from nnstudy.data.parts import LoaderPart, Part, TensorPart
from nnstudy.errors import UserError

Targets = Tensor | np.ndarray[Any, Any]

_PROBES = 8  # a flip with probability 1/2 stays unnoticed in one of 2^8 datasets


def read_dataset(dataset: Any, *, memory_limit: int, workers: int) -> tuple[Part, Targets]:
    """Reads a dataset's examples, or only its targets where the inputs do not fit in memory.

    Args:
        dataset: Map-style, gives ``(input, target)``.
        memory_limit: Bytes that the inputs may take.
        workers: Processes to read with.

    Returns:
        The raw part, whose targets are still to be set, and the targets as they are.

    Raises:
        UserError: Not map-style, empty, or its examples cannot be used.
    """
    _require_map_style(dataset)
    probes = [_example(dataset, p) for p in range(min(_PROBES, len(dataset)))]
    repeatable = _repeatable(dataset, probes)
    first = as_input(probes[0][0])
    fits = first.numel() * first.element_size() * len(dataset) <= memory_limit
    if fits and repeatable:
        inputs, targets = _read_all(dataset, workers)
        require_finite(inputs, "inputs")
        return TensorPart(inputs, torch.zeros(len(inputs))), targets
    known = _known_targets(dataset, probes)
    part = LoaderPart(
        dataset,
        torch.zeros(len(dataset)),
        shape=tuple(first.shape),
        workers=workers,
        repeatable=repeatable,
    )
    return part, _read_targets(dataset, workers) if known is None else known


def _require_map_style(dataset: Any) -> None:
    sized = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    if isinstance(dataset, IterableDataset) or not sized:
        raise UserError(
            f"{type(dataset).__name__} is no map-style dataset: it needs __len__ and __getitem__"
        )
    if len(dataset) == 0:
        raise UserError(f"the dataset {type(dataset).__name__} is empty")


def _example(dataset: Any, position: int) -> tuple[Any, Any]:
    example = dataset[position]
    if not isinstance(example, tuple | list) or len(example) != 2:
        raise UserError(
            f"{type(dataset).__name__}[{position}] must give (input, target), got"
            f" {type(example).__name__}"
        )
    return example[0], example[1]


def _repeatable(dataset: Any, probes: list[tuple[Any, Any]]) -> bool:
    again = [_example(dataset, p) for p in range(len(probes))]
    if not all(_same(a[1], b[1]) for a, b in zip(probes, again, strict=True)):
        raise UserError(
            f"the targets of {type(dataset).__name__} change from one reading to the next: do"
            " that in Recipe(augmentation=...) or in a loss of your own"
        )
    pairs = [(as_input(a[0]), as_input(b[0])) for a, b in zip(probes, again, strict=True)]
    return all(torch.equal(a, b) for a, b in pairs)


def _same(one: Any, other: Any) -> bool:
    a, b = np.asarray(as_targets(one)), np.asarray(as_targets(other))
    return np.array_equal(a, b, equal_nan=a.dtype.kind == b.dtype.kind == "f")


def _known_targets(dataset: Any, probes: list[tuple[Any, Any]]) -> Targets | None:
    """The targets a dataset tells of without reading its inputs, if its examples agree."""
    found = _told_targets(dataset)
    if found is None:
        return None
    try:
        targets = as_targets(found)
    except UserError:
        return None
    agrees = len(targets) == len(dataset) and all(
        _same(targets[p], target) for p, (_, target) in enumerate(probes)
    )
    return targets if agrees else None


def _told_targets(dataset: Any) -> Any:
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        return dataset.tensors[1]
    if isinstance(dataset, Subset):
        whole = _told_targets(dataset.dataset)
        return None if whole is None else np.asarray(as_targets(whole))[list(dataset.indices)]
    if getattr(dataset, "target_transform", None) is not None:
        return None
    return getattr(dataset, "targets", getattr(dataset, "labels", None))


def _read_all(dataset: Any, workers: int) -> tuple[Tensor, Targets]:
    inputs, targets = zip(*_pieces(_Examples(dataset), workers), strict=True)
    return torch.cat(inputs), as_targets(np.concatenate(targets))


def _read_targets(dataset: Any, workers: int) -> Targets:
    pieces = _pieces(_Examples(dataset, inputs=False), workers)
    return as_targets(np.concatenate([targets for _, targets in pieces]))


class _Examples(Dataset[tuple[Tensor, Any]]):
    def __init__(self, dataset: Any, inputs: bool = True) -> None:
        self._dataset = dataset
        self._inputs = inputs

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, position: int) -> tuple[Tensor, Any]:
        x, y = self._dataset[position]
        return (as_input(x) if self._inputs else torch.empty(0)), np.asarray(as_targets(y))


def _pieces(examples: _Examples, workers: int) -> DataLoader[Any]:
    return DataLoader(
        examples,
        batch_size=256,
        num_workers=workers,
        collate_fn=_collate,
        generator=torch.Generator(),
    )


def _collate(examples: list[tuple[Tensor, Any]]) -> tuple[Tensor, Any]:
    inputs, targets = zip(*examples, strict=True)
    return stack_inputs(inputs), np.stack(targets)
