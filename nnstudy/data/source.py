"""Where data come from: tensors, arrays or any map-style dataset, as one ``Source``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nnstudy.data.examples import as_inputs, as_targets, require_finite
from nnstudy.data.normalisation import Mode
from nnstudy.data.parts import Part, TensorPart
from nnstudy.data.reading import read_dataset
from nnstudy.errors import UserError

Task = Literal["classification", "regression"]

MEMORY_LIMIT = 2 * 2**30


@dataclass(frozen=True, kw_only=True)
class Source:
    """Examples as they came, before they are split and normalised.

    Make one with ``tensors`` or ``from_dataset``, which check what they are given.

    Attributes:
        name: What the data are called.
        examples: The examples to learn from, raw.
        test: The test set, if the source has one of its own.
        task: "classification" (targets 0 to k-1) or "regression" (targets of shape (N, k)).
        class_names: What the classes are called, in the order of their labels.
        normalise: "standardise" to mean 0 and std 1, "unit" to [0, 1], or "none": always with
            what the training part tells. See ``Normalisation.fit``.
        standardise_targets: Whether targets that are numbers get mean 0 and std 1 too.
    """

    name: str
    examples: Part
    test: Part | None = None
    task: Task = "classification"
    class_names: tuple[str, ...] = ()
    normalise: Mode = "standardise"
    standardise_targets: bool = False

    def __post_init__(self) -> None:
        """Raises UserError for options that do not exist or do not fit."""
        if self.task not in ("classification", "regression"):
            raise UserError(f"task must be 'classification' or 'regression', got {self.task!r}")
        if self.normalise not in ("standardise", "unit", "none"):
            raise UserError(
                f"normalise must be 'standardise', 'unit' or 'none', got {self.normalise!r}"
            )
        if self.standardise_targets and self.task == "classification":
            raise UserError("standardise_targets=True is for regression: classes have no scale")
        if self.test is not None and self.test.shape != self.examples.shape:
            raise UserError(
                f"test inputs have shape {self.test.shape}, the others {self.examples.shape}"
            )
        if self.test is not None and self.test.targets.shape[1:] != self.examples.targets.shape[1:]:
            raise UserError(
                f"test targets have {self.test.targets.shape[1]} numbers each,"
                f" the others {self.examples.targets.shape[1]}"
            )


def tensors(
    inputs: Any,
    targets: Any,
    test: tuple[Any, Any] | None = None,
    *,
    name: str = "tensors",
    task: Task | None = None,
    class_names: tuple[str, ...] | None = None,
    normalise: Mode = "standardise",
    standardise_targets: bool = False,
) -> Source:
    """Makes a source of tensors, arrays or anything NumPy understands.

    Args:
        inputs: (N, ...): images (N, C, H, W), best as bytes; features (N, F) or (N,);
            sequences (N, T, F). Integers other than bytes are taken for indices, of words in
            an embedding say, and passed on as they are: give counts and codes as floats.
        targets: (N,) labels (integers or names; each gets a number from 0 in sorted order), or
            numbers (N,) or (N, k).
        test: Inputs and targets of a test set, if there is one.
        name: What the data are called.
        task: Default: regression where the targets are floats, else classification.
        class_names: Names of the classes; the targets must then be 0 to their number - 1.
        normalise: See ``Source``.
        standardise_targets: See ``Source``.

    Raises:
        UserError: Lengths differ, there is nothing, or a number is NaN or infinite.
    """
    parts = [(as_inputs(inputs), as_targets(targets))]
    if test is not None:
        parts.append((as_inputs(test[0]), as_targets(test[1])))
    for what, (x, y) in zip(("", "test "), parts, strict=False):
        _require_examples(x, y, what)
        require_finite(x, f"{what}inputs")
    task, labels, names = _label([y for _, y in parts], task, class_names)
    made = [
        TensorPart(x if x.ndim > 1 else x[:, None], y)
        for (x, _), y in zip(parts, labels, strict=True)
    ]
    return Source(
        name=name,
        examples=made[0],
        test=made[1] if test is not None else None,
        task=task,
        class_names=names,
        normalise=normalise,
        standardise_targets=standardise_targets,
    )


def from_dataset(
    dataset: Any,
    test: Any = None,
    *,
    name: str | None = None,
    task: Task | None = None,
    class_names: tuple[str, ...] | None = None,
    normalise: Mode = "standardise",
    standardise_targets: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    workers: int = 0,
) -> Source:
    """Makes a source of a map-style dataset that gives ``(input, target)``.

    What fits in memory is read once and held as tensors; a ``DataLoader`` serves what does
    not, and what gives another input each time it is asked (a dataset with random transforms).
    Where the dataset has no attribute that tells its targets, they are read in one pass.

    Args:
        dataset: Has ``__len__`` and ``__getitem__``.
        test: A dataset to test on, if there is one.
        name: What the data are called. Default: the dataset's class.
        task: See ``tensors``.
        class_names: See ``tensors``.
        normalise: See ``Source``.
        standardise_targets: See ``Source``.
        memory_limit: Bytes that the inputs may take; 0 holds nothing in memory.
        workers: Processes that a ``DataLoader`` reads with.

    Raises:
        UserError: Not map-style, empty, or its examples cannot be used.
    """
    given = [dataset] if test is None else [dataset, test]
    read = [read_dataset(d, memory_limit=memory_limit, workers=workers) for d in given]
    task, labels, names = _label([targets for _, targets in read], task, class_names)
    parts = [part.with_targets(y) for (part, _), y in zip(read, labels, strict=True)]
    return Source(
        name=name or type(dataset).__name__.lower(),
        examples=parts[0],
        test=parts[1] if test is not None else None,
        task=task,
        class_names=names,
        normalise=normalise,
        standardise_targets=standardise_targets,
    )


Targets = Tensor | np.ndarray[Any, Any]


def _require_examples(inputs: Tensor, targets: Targets, what: str) -> None:
    if inputs.ndim == 0 or targets.ndim == 0:
        raise UserError(f"{what}inputs and targets need one entry per example, got a single number")
    if len(inputs) != len(targets):
        raise UserError(
            f"{what}inputs and targets have different lengths: {len(inputs)} and {len(targets)}"
        )
    if inputs.numel() == 0:
        raise UserError(f"there are no {what}examples")


def _label(
    targets: list[Targets], task: Task | None, class_names: tuple[str, ...] | None
) -> tuple[Task, list[Tensor], tuple[str, ...]]:
    """Returns the task, the targets as training wants them, and the names of the classes."""
    is_float = isinstance(targets[0], Tensor) and targets[0].is_floating_point()
    if task is None:
        task = "regression" if is_float else "classification"
    if task == "regression":
        return task, [_numbers(t) for t in targets], ()
    flat = [_flat_labels(t) for t in targets]
    if class_names is not None:
        labels = [_known_labels(t, len(class_names)) for t in flat]
        return task, labels, tuple(class_names)
    values = np.unique(np.concatenate(flat))
    labels = [torch.from_numpy(np.searchsorted(values, t).astype(np.int64)) for t in flat]
    return task, labels, tuple(str(v) for v in values)


def _numbers(targets: Targets) -> Tensor:
    if not isinstance(targets, Tensor):
        raise UserError("targets are names, so the task cannot be regression")
    require_finite(targets, "targets")
    return targets.float().reshape(len(targets), -1)


def _flat_labels(targets: Targets) -> np.ndarray[Any, Any]:
    if isinstance(targets, Tensor):
        require_finite(targets, "targets")
        if targets.is_floating_point() and bool((targets != targets.round()).any()):
            raise UserError(
                "targets are not whole numbers, so they are no classes: say task='regression'"
            )
        is_float = targets.is_floating_point() or targets.dtype == torch.bool
        targets = (targets.long() if is_float else targets).cpu().numpy()
    if targets.size != len(targets):
        raise UserError(
            f"targets of classes need one label per example, got shape {targets.shape}:"
            " for one-hot rows give their argmax"
        )
    return targets.reshape(-1)


def _known_labels(labels: np.ndarray[Any, Any], classes: int) -> Tensor:
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        raise UserError(
            f"with class_names given, targets must be whole numbers from 0 to {classes - 1}"
        )
    return torch.from_numpy(labels.astype(np.int64))
