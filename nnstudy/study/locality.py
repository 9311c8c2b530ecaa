"""Where a module's file lies, and whether it is the user's own or a library's."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_STANDARD_LIBRARY = Path(os.__file__).resolve().parent
_INSTALLED = {"site-packages", "dist-packages"}


def find_module_file(module: str) -> Path | None:
    """Returns a module's file, without importing the module or its packages.

    Returns:
        None where there is no such module, or it has no file.
    """
    if module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
        return Path(file).resolve() if file else None
    parts = module.split(".")
    spec, path = None, None
    for end in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:end]), path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    return Path(spec.origin).resolve() if spec and spec.origin else None


def is_local(file: Path, roots: Sequence[Path]) -> bool:
    """Says whether a file lies under one of ``roots`` and is no library's.

    Libraries are what lies in ``site-packages``, in a virtual environment inside a root, in
    the standard library and in this package (whose shipped studies are as good as a user's).

    Args:
        file: An existing file.
        roots: Resolved folders: those of the study file and of the user's work.
    """
    file = file.resolve()
    if file.is_relative_to(_STANDARD_LIBRARY) and not _INSTALLED.intersection(file.parts):
        return False
    if file.is_relative_to(_PACKAGE) and not file.is_relative_to(_PACKAGE / "studies"):
        return False
    return any(file.is_relative_to(root) and _is_own(file, root) for root in roots)


def _is_own(file: Path, root: Path) -> bool:
    if _INSTALLED.intersection(file.relative_to(root).parts):
        return False
    folders = [folder for folder in file.parents if folder.is_relative_to(root) and folder != root]
    return not any((folder / "pyvenv.cfg").exists() for folder in folders)
