"""One copy of a study's data for all workers of a machine, mapped into their memory.

Whoever has loaded the data writes them, split and normalised, to a file in the user's cache
directory; everybody else maps it, which takes a millisecond, and the operating system keeps its
pages in memory once. The file is safetensors with the rest as JSON in its header: opening it
runs no code. Its name is the digest and the version of the format, so that what one name stands
for never changes.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import platformdirs
import safetensors.torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nnstudy.data.data import Data
from nnstudy.data.normalisation import Normalisation
from nnstudy.data.parts import TensorPart
from nnstudy.data.split import Split, Subset
from nnstudy.errors import UserError

FORMAT = 1  # rises with what a file holds, and with how ``load`` splits and normalises
KEPT_SECONDS = 7 * 24 * 3600.0
STALE_SECONDS = 3600.0
LOCK_SECONDS = 60.0

_HEADER = "nnstudy.data"
_DIGEST = "[0-9a-f]" * 16
_WRITING = ".writing-"
_PARTS = ("train", "validation", "selection", "_test")
_NORMALISATIONS = ("normalisation", "target_normalisation")
_FACTS = ("name", "task", "classes", "outputs", "class_names", "normalise", "digest")

_LOG = logging.getLogger(__name__)


def share(data: Data, directory: Path | None = None) -> bool:
    """Makes data available to ``open_shared`` of every process of this user.

    Any number of processes may do so at once: one writes. Copies that nobody has opened for
    seven days are removed before; where one is still mapped, it stays so on POSIX.

    Args:
        data: What ``load`` gave.
        directory: Where copies are. Default: ``data`` in the user's cache directory of nnstudy.

    Returns:
        Whether there is a copy now. There is none of what is not held in memory; nor where it
        cannot be written, which is logged as a warning.
    """
    is_in_memory = all(type(getattr(data, name)) is TensorPart for name in _PARTS)
    if not is_in_memory or not re.fullmatch(_DIGEST, data.digest):
        return False
    directory = directory or _default_directory()
    if open_shared(data.digest, directory) is not None:
        return True
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(directory / ".lock", timeout=LOCK_SECONDS, mode=0o600):
            if open_shared(data.digest, directory) is None:
                _remove_unused(directory)
                _write(data, _file(data.digest, directory))
    except (OSError, SafetensorError) as error:
        _LOG.warning(
            "The data could not be shared in %s, so each worker loads its own: %s", directory, error
        )
        return False
    return True


def open_shared(digest: str, directory: Path | None = None) -> Data | None:
    """Returns data that were shared, mapped into memory.

    The mapping is private: what is written to it is seen by this process alone, and is not in
    the file. Checked are the header and that the file is as long as the header says; the
    numbers themselves are not read, they were on the disk before the file got its name.

    Args:
        digest: Of the data. It does not cover what they are called: two sources with the same
            contents have one copy, with the name of the first.
        directory: See ``share``.

    Returns:
        The data, or None where there is no copy or it is damaged.
    """
    if not re.fullmatch(_DIGEST, digest):
        return None
    path = _file(digest, directory or _default_directory())
    with suppress(OSError):
        os.utime(path)
    try:
        with safe_open(path, framework="pt") as file:
            data = _unpack(json.loads(file.metadata()[_HEADER]), file.get_tensors())
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError, UserError):
        return None
    return data if data.digest == digest else None


def _default_directory() -> Path:
    return platformdirs.user_cache_path("nnstudy") / "data"


def _file(digest: str, directory: Path) -> Path:
    return directory / f"{digest}-{FORMAT}.safetensors"


def _write(data: Data, path: Path) -> None:
    tensors, facts = _pack(data)
    with TemporaryDirectory(
        dir=path.parent, prefix=_WRITING, ignore_cleanup_errors=True
    ) as temporary:
        written = Path(temporary) / path.name
        safetensors.torch.save_file(tensors, written, {_HEADER: json.dumps(facts)})
        written.chmod(0o600)
        with written.open("rb+") as file:
            os.fsync(file.fileno())
        written.replace(path)


def _remove_unused(directory: Path) -> None:
    now = time.time()
    for path in directory.glob(f"{_DIGEST}-*.safetensors"):
        with suppress(OSError):
            if path.stat().st_mtime < now - KEPT_SECONDS:
                path.unlink()
    for path in directory.glob(f"{_WRITING}*"):  # of processes that were killed while writing
        with suppress(OSError):
            if path.stat().st_mtime < now - STALE_SECONDS:
                shutil.rmtree(path)


def _pack(data: Data) -> tuple[dict[str, Tensor], dict[str, Any]]:
    facts = {name: getattr(data, name) for name in _FACTS}
    facts |= {"split": asdict(data.split), "subset": asdict(data.subset)}
    tensors = {}
    for name in _PARTS:
        part = getattr(data, name)
        tensors[f"{name}.inputs"] = part.inputs
        tensors[f"{name}.targets"] = part.targets.clone()  # they may be the inputs themselves
    for name in _NORMALISATIONS:
        fitted = getattr(data, name)
        facts[name] = None if fitted is None else fitted.full_scale
        if fitted is not None:
            tensors[f"{name}.mean"] = fitted.mean
            tensors[f"{name}.std"] = fitted.std
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, facts


def _unpack(facts: dict[str, Any], tensors: dict[str, Tensor]) -> Data:
    fields = {name: facts[name] for name in _FACTS}
    fields["class_names"] = tuple(facts["class_names"])
    fields["split"] = Split(**facts["split"])
    classes = facts["subset"].pop("classes")
    fields["subset"] = Subset(None if classes is None else tuple(classes), **facts["subset"])
    for name in _NORMALISATIONS:
        full_scale = facts[name]
        fields[name] = (
            None
            if full_scale is None
            else Normalisation(tensors[f"{name}.mean"], tensors[f"{name}.std"], full_scale)
        )
    for name in _PARTS:
        inputs, targets = tensors[f"{name}.inputs"], tensors[f"{name}.targets"]
        fields[name] = TensorPart(inputs, targets, fields["normalisation"])
    return Data(**fields)
