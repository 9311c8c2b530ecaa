"""The file format: one safetensors file holds tensors, and the rest as JSON in its header.

The header's metadata has these entries beside the writer's own:

- ``nnstudy.schema``: version of this format;
- ``nnstudy.state``: the state as a JSON tree that refers to the tensors (``state_tree``);
- ``nnstudy.checksum``: CRC-32 of the other entries. Each tensor has its own in the tree, so
  that reading some of them checks them.

Reading parses JSON and copies bytes: a file from a stranger can at worst be refused.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nnstudy.training.checkpoints.atomic_write import write_atomically
from nnstudy.training.checkpoints.errors import CheckpointError
from nnstudy.training.checkpoints.state_tree import Encoder, Node, decode

SCHEMA = 1
_OWN = "nnstudy."

Weights = Literal["network", "average"]


def write(path: Path, state: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a checkpoint; a crash leaves the old file or the new one, never half of one.

    ``read`` gives the same again, bit for bit, but for this: tensors come back on the CPU,
    contiguous and without gradients, every mapping as a ``dict``, NumPy's scalars as Python's
    numbers. A tensor that occurs in several places is kept once and comes back as one.

    Args:
        path: The file; missing directories are made.
        state: Nested mappings, lists and tuples of tensors, arrays, numbers, strings, ``None``.
        metadata: Strings by name that are not part of the state, for ``read_metadata``.

    Raises:
        CheckpointError: If the state holds something else, or the disk is full.
    """
    entries = dict(metadata or {})
    if any(name.startswith(_OWN) for name in entries):
        raise ValueError(f"names of metadata must not start with {_OWN!r}: {sorted(entries)}")
    encoder = Encoder()
    tree = encoder.encode(state)
    entries[f"{_OWN}schema"] = str(SCHEMA)
    entries[f"{_OWN}state"] = json.dumps(tree, separators=(",", ":"))
    entries[f"{_OWN}checksum"] = _checksum(entries)
    try:
        content = safetensors.torch.save(encoder.tensors, entries)
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"cannot write the checkpoint {path}: {error}") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise CheckpointError(
            f"cannot write the checkpoint {path}: {error.strerror or error};"
            " make room or choose another directory for checkpoints"
        ) from error


def read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the state and the metadata of a checkpoint.

    Raises:
        CheckpointError: If there is no such file, it is damaged, of a newer version or not a
            checkpoint.
    """
    with _opened(path) as checkpoint:
        return decode(checkpoint.tree, checkpoint.tensor), checkpoint.metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Returns the metadata of a checkpoint alone, without reading a tensor.

    Raises:
        CheckpointError: As ``read`` does.
    """
    with _opened(path) as checkpoint:
        return checkpoint.metadata


def read_weights(path: Path, which: Weights | None = None) -> dict[str, Tensor]:
    """Returns a network's weights, as its ``load_state_dict`` takes them, and reads no others.

    Args:
        path: A checkpoint of any kind.
        which: ``network``: the weights in training; ``average``: their moving average. None:
            what the file has, the network's where it has both.

    Raises:
        CheckpointError: As ``read`` does, and if the file has no such weights.
    """
    with _opened(path) as checkpoint:
        chosen = which or ("network" if "network" in checkpoint.tree else "average")
        node = checkpoint.tree.get(chosen)
        if chosen == "average" and isinstance(node, dict):
            node = node.get("network")
        if not isinstance(node, dict):
            raise CheckpointError(f"it holds no weights of the {chosen}")
        weights: dict[str, Tensor] = decode(node, checkpoint.tensor)
        return weights


class _Opened(NamedTuple):
    tree: dict[str, Node]
    metadata: dict[str, str]
    tensor: Callable[[str], Tensor]


@contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    """Opens a checkpoint and turns whatever is wrong with it into a CheckpointError."""
    try:
        # The other backend opens the path twice, between which a worker may replace the file.
        with safe_open(path, framework="pt", backend="pread") as file:
            entries = file.metadata() or {}
            yield _Opened(
                _tree(entries),
                {name: text for name, text in entries.items() if not name.startswith(_OWN)},
                file.get_tensor,
            )
    except CheckpointError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error}") from error
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except OSError as error:
        raise CheckpointError(
            f"cannot read the checkpoint {path}: {error.strerror or error}"
        ) from error
    except (
        SafetensorError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise CheckpointError(
            f"the file {path} is damaged or not a checkpoint ({type(error).__name__}: {error})"
        ) from error


def _tree(entries: dict[str, str]) -> dict[str, Node]:
    """Returns the state's tree of a header that has been checked."""
    schema = entries.get(f"{_OWN}schema")
    if schema is None:
        raise CheckpointError("nnstudy did not write it")
    if int(schema) > SCHEMA:
        raise CheckpointError(
            f"it has schema version {schema}, newer than {SCHEMA}, the newest this nnstudy"
            " understands; upgrade nnstudy"
        )
    if entries.get(f"{_OWN}checksum") != _checksum(entries):
        raise CheckpointError("its header is damaged")
    tree: Node = json.loads(entries[f"{_OWN}state"])
    if not isinstance(tree, dict):
        raise CheckpointError("its state is not a mapping")
    return tree


def _checksum(entries: Mapping[str, str]) -> str:
    checked = {name: text for name, text in entries.items() if name != f"{_OWN}checksum"}
    return str(zlib.crc32(json.dumps(checked, sort_keys=True).encode()))
