"""From what users have (arrays, pictures, numbers, names) to tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nnstudy.errors import UserError


def as_inputs(values: Any) -> Tensor:
    """Returns inputs as a tensor: bytes, float32 or float64, or int64 for indices.

    Args:
        values: A tensor, an array, a data frame of numbers, a picture (its channels come
            first in the result) or nested lists.

    Raises:
        UserError: Not numbers, or not real ones.
    """
    tensor = _as_tensor(values, "inputs")
    if tensor.is_complex():
        raise UserError("inputs are complex numbers: give real and imaginary part as features")
    if tensor.dtype in (torch.uint8, torch.float32, torch.float64, torch.int64):
        return tensor
    is_number = tensor.is_floating_point() or tensor.dtype == torch.bool
    return tensor.to(torch.float32 if is_number else torch.int64)


def as_targets(values: Any) -> Tensor | np.ndarray[Any, Any]:
    """Returns targets as a tensor of numbers or, where they are names, as an array of strings."""
    if not isinstance(values, Tensor):
        array = np.asarray(values)
        if array.dtype.kind in "US" or (
            array.dtype == object and all(isinstance(v, str) for v in array.flat)
        ):
            return array.astype(str)
    return _as_tensor(values, "targets")


def require_finite(tensor: Tensor, what: str) -> None:
    """Raises UserError where a number is NaN or infinite, naming the first example."""
    if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
        return
    finite = torch.isfinite(tensor).flatten(1).all(1) if tensor.ndim > 1 else tensor.isfinite()
    first = int((~finite).nonzero()[0])
    raise UserError(
        f"{what} of {int((~finite).sum())} examples are NaN or infinite (the first is example"
        f" {first}): drop or fill them before training"
    )


class InputsOnly(Dataset[Tensor]):
    """The inputs of a dataset as tensors of at least one dimension."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, position: int) -> Tensor:
        return as_input(self._dataset[position][0])


def as_input(value: Any) -> Tensor:
    """Returns one input as a tensor of at least one dimension."""
    tensor = as_inputs(value)
    return tensor if tensor.ndim else tensor.reshape(1)


def stack_inputs(inputs: Sequence[Tensor]) -> Tensor:
    """Stacks the inputs of a minibatch.

    Raises:
        UserError: They have different shapes.
    """
    shapes = {tuple(x.shape) for x in inputs}
    if len(shapes) > 1:
        raise UserError(
            f"the dataset's inputs have different shapes ({', '.join(map(str, sorted(shapes)))}):"
            " give it a transform that makes them equal"
        )
    return torch.stack(tuple(inputs))


def _as_tensor(values: Any, what: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().to_dense() if values.is_sparse else values.detach()
    is_picture = type(values).__module__.startswith("PIL.")
    array = np.asarray(values)
    if array.dtype == object or array.dtype.kind not in "biufc":
        raise UserError(
            f"{what} must be numbers, got {array.dtype} from {type(values).__name__}:"
            " convert them to a numeric tensor or array first"
        )
    if array.dtype.kind == "u" and array.dtype != np.uint8:
        array = array.astype(np.int64)
    if is_picture:
        array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    # A copy where needed: torch warns of arrays that cannot be written to or run backwards.
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(np.require(native, requirements=["C", "W"]))
