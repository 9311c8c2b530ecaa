"""A nested state as a JSON-ready tree and the tensors it refers to, and back again.

``None``, booleans, whole numbers, finite numbers, strings, lists and mappings with names as
keys stand for themselves. What JSON has no word for is a mapping with one key that begins
with ``$``:

======================================  ==================================================
``{"$tensor": [name, checksum]}``       a tensor, kept under this name beside the tree
``{"$array": [name, checksum]}``        a NumPy array, kept likewise
``{"$tuple": [...]}``                   a tuple
``{"$items": [[key, value], ...]}``     a mapping whose keys are not all plain names
``{"$float": "nan"}``                   not a number, or infinite
======================================  ==================================================
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnstudy.training.checkpoints.errors import CheckpointError

Node = Any  # what json.loads returns


class Encoder:
    """Makes a tree of a state and collects the state's tensors.

    Attributes:
        tensors: The tensors by name (their place in the state, ``optimizer/state/0/exp_avg``):
            on the CPU, contiguous, no two in the same memory. A tensor that occurs twice is
            kept once.
    """

    def __init__(self) -> None:
        """Starts without tensors."""
        self.tensors: dict[str, Tensor] = {}
        self._references: dict[tuple[Any, ...], Node] = {}
        self._alive: list[Tensor] = []  # so that no address is used again
        self._memory: set[int] = set()

    def encode(self, value: Any, place: str = "") -> Node:
        """Returns the tree of ``value``.

        Args:
            value: Nested mappings, lists and tuples of tensors, arrays, numbers, strings,
                ``None``.
            place: Where in the state it stands, in names separated by slashes.

        Raises:
            CheckpointError: If there is something that a checkpoint cannot hold.
        """
        match value:
            case None | bool() | str():
                return value
            case np.generic() if not isinstance(value.item(), np.generic):
                return self.encode(value.item(), place)
            case int():
                return int(value)
            case float():
                return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
            case Tensor():
                return {"$tensor": self._keep(value, place)}
            case np.ndarray():
                return {"$array": self._keep(_from_array(value, place), place)}
            case list():
                return self._encode_sequence(value, place)
            case tuple():
                return {"$tuple": self._encode_sequence(value, place)}
            case Mapping():
                return self._encode_mapping(value, place)
        raise CheckpointError(
            f"a checkpoint cannot hold the {type(value).__name__} at {place or 'the top'!r}:"
            " keep tensors, numbers, strings, lists and mappings in the state instead"
        )

    def _encode_sequence(self, values: list[Any] | tuple[Any, ...], place: str) -> list[Node]:
        return [self.encode(value, _join(place, i)) for i, value in enumerate(values)]

    def _encode_mapping(self, mapping: Mapping[Any, Any], place: str) -> Node:
        if all(type(key) is str and not key.startswith("$") for key in mapping):
            return {key: self.encode(value, _join(place, key)) for key, value in mapping.items()}
        return {
            "$items": [
                [self.encode(key, place), self.encode(value, _join(place, key))]
                for key, value in mapping.items()
            ]
        }

    def _keep(self, tensor: Tensor, place: str) -> list[Any]:
        """Keeps a tensor and returns its reference: its name and its checksum."""
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise CheckpointError(
                f"a checkpoint cannot hold the tensor at {place!r}: it is sparse, quantised or"
                " without memory; make it a dense one first"
            )
        identity = _identity(tensor)
        if identity not in self._references:
            name = self._free_name(place)
            kept = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
            if kept.untyped_storage().data_ptr() in self._memory:  # another view of kept memory
                kept = kept.clone()
            self._memory.add(kept.untyped_storage().data_ptr())
            self.tensors[name] = kept
            self._alive.append(tensor)
            self._references[identity] = [name, checksum(kept)]
        return list(self._references[identity])

    def _free_name(self, place: str) -> str:
        """Returns ``place``, or with a number where two places read the same (``0``, ``"0"``)."""
        name, number = place or "/", 1
        while name in self.tensors:
            number += 1
            name = f"{place}~{number}"
        return name


def decode(node: Node, tensor: Callable[[str], Tensor]) -> Any:
    """Returns the state of which ``Encoder.encode`` made the tree ``node``.

    Args:
        node: A tree.
        tensor: Returns the tensor of a name. It is called once per name, and every reference
            to that name gets the same tensor.

    Raises:
        CheckpointError: If a tensor is not the one that was written.
        LookupError: If a tensor is missing.
        TypeError: If ``node`` is no such tree.
        ValueError: Likewise.
    """
    found: dict[str, Tensor] = {}

    def fetch(reference: Any) -> Tensor:
        name, expected = reference
        if name not in found:
            found[name] = tensor(name)
            if checksum(found[name]) != expected:
                raise CheckpointError(f"the tensor {name!r} is damaged")
        return found[name]

    def build(node: Node) -> Any:
        match node:
            case None | bool() | int() | float() | str():
                return node
            case list():
                return [build(child) for child in node]
            case {"$tensor": reference}:
                return fetch(reference)
            case {"$array": reference}:
                return fetch(reference).numpy()
            case {"$tuple": children}:
                return tuple(build(child) for child in children)
            case {"$items": items}:
                return {build(key): build(value) for key, value in items}
            case {"$float": text}:
                return float(text)
            case dict():
                return {key: build(value) for key, value in node.items()}
        raise TypeError(f"unexpected {type(node).__name__} in the state")

    return build(node)


def checksum(tensor: Tensor) -> int:
    """Returns the CRC-32 of a contiguous CPU tensor's element type, shape and bytes."""
    kind = zlib.crc32(f"{tensor.dtype}{list(tensor.shape)}".encode())
    # Not reshape: dimensions of one or no elements may have any stride.
    flat = tensor.as_strided((tensor.numel(),), (1,))
    return zlib.crc32(flat.view(torch.uint8).numpy().data, kind)


def _identity(tensor: Tensor) -> tuple[Any, ...]:
    """Returns what is equal for two tensors only if they are the same view of one memory."""
    if tensor.numel() == 0:
        return (id(tensor),)
    return (
        tensor.device,
        tensor.data_ptr(),
        tensor.dtype,
        tensor.shape,
        tensor.stride(),
        tensor.is_conj(),
        tensor.is_neg(),
    )


def _from_array(array: np.ndarray[Any, Any], place: str) -> Tensor:
    # A copy, since PyTorch takes neither read-only arrays nor negative strides nor big-endians.
    native = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    try:
        return torch.from_numpy(native)
    except TypeError as error:
        raise CheckpointError(
            f"a checkpoint cannot hold the array of {array.dtype} at {place!r}"
        ) from error


def _join(place: str, key: Any) -> str:
    return f"{place}/{key}" if place else str(key)
