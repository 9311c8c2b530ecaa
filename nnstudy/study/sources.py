"""The study file and the user's modules that it imports, kept so that networks can be rebuilt."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from nnstudy.errors import UserError
from nnstudy.study.loading import LoadedStudy
from nnstudy.study.locality import find_module_file, is_local

MAX_BYTES = 5_000_000
"""More than this is no source code any more but data, which does not belong in MLflow's tags."""


@dataclass(frozen=True)
class Sources:
    """Source files by the path from which they can be imported.

    Attributes:
        main: Which of the files holds the study.
        files: Their texts. A module ``layers.blocks`` is ``layers/blocks.py`` wherever it
            was found, so that the files written to one folder import each other there, and
            the hash does not depend on where the study was launched.
        variable: What the study is called in its file.
    """

    main: str
    files: Mapping[str, str]
    variable: str = "study"

    @cached_property
    def per_file(self) -> dict[str, str]:
        """The BLAKE2b hash of each file's text, by path."""
        return {path: _hash(text) for path, text in sorted(self.files.items())}

    @cached_property
    def hash(self) -> str:
        """One BLAKE2b hash of all paths and contents."""
        return hash_of_files(self.per_file)

    def differences(self, other_hashes: Mapping[str, str]) -> list[str]:
        """Returns what became of the files since ``other_hashes``, a former ``per_file``.

        Returns:
            ``["layers.py changed", "net.py added", "old.py removed"]``, sorted by path; empty
            if nothing differs.
        """
        found = []
        for path in sorted({*self.per_file, *other_hashes}):
            if path not in other_hashes:
                found.append(f"{path} added")
            elif path not in self.per_file:
                found.append(f"{path} removed")
            elif self.per_file[path] != other_hashes[path]:
                found.append(f"{path} changed")
        return found

    def write_to(self, directory: Path) -> Path:
        """Writes the files below ``directory`` and returns the path of the study file.

        Raises:
            UserError: If a path leads out of ``directory``, which only sources that were
                tampered with have. Nothing is written then.
        """
        _refuse_ways_out(self.files, directory)
        for name, text in self.files.items():
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            # A file may declare another encoding than UTF-8, and is read in that one.
            encoding, _ = tokenize.detect_encoding(io.BytesIO(text.encode()).readline)
            target.write_text(text, encoding=encoding, newline="\n")
        return directory / self.main


def read_verified(
    directory: Path, main: str, hashes: Mapping[str, str], variable: str = "study"
) -> Sources:
    """Returns sources that ``Sources.write_to`` has written, if they are still the same.

    Nothing is run.

    Args:
        directory: Where they are.
        main: Which of the files holds the study.
        hashes: What each file's hash must be, by path: a former ``Sources.per_file``.
        variable: What the study is called in its file.

    Raises:
        UserError: If a file is missing, cannot be read or has another hash.
    """
    _refuse_ways_out([main, *hashes], directory)
    files = {}
    for name in hashes:
        try:
            files[name] = importlib.util.decode_source((directory / name).read_bytes())
        except (OSError, SyntaxError, UnicodeError) as error:
            raise UserError(f"the kept code {directory / name} cannot be read: {error}") from error
    found = Sources(main, files, variable)
    if changes := found.differences(hashes):
        raise UserError(
            f"the code that is kept in {directory} is not what the study ran with"
            f" ({', '.join(changes)}), so it is not run"
        )
    if main not in files:
        raise UserError(f"the code that is kept in {directory} has no study file {main}")
    return found


def _refuse_ways_out(names: Iterable[str], directory: Path) -> None:
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"The kept sources hold {name!r}, which leads out of {directory}")


def hash_of_files(per_file: Mapping[str, str]) -> str:
    """Returns one BLAKE2b hash of the hashes of files, by path."""
    return _hash("\n".join(f"{hash_} {path}" for path, hash_ in sorted(per_file.items())))


def collect_sources(loaded: LoadedStudy) -> Sources:
    """Returns the text of the study file and of the user's modules that it imports.

    The user's modules are the ``.py`` files under the study file's folder or the working
    directory (for a study from another package: in that package) that were imported with
    the study, or that it or one of them has an import statement for, also inside a
    function. Libraries, virtual environments and files of any other kind are left out.

    Raises:
        UserError: If the files are larger than 5 MB together.
    """
    main = _name_in_sources(loaded.module, loaded.path, loaded)
    files: dict[str, str] = {}
    waiting = [loaded.module, *sorted(loaded.imported)]
    seen = set(waiting)
    while waiting:
        module = waiting.pop()
        path = find_module_file(module)
        if path is None or not _belongs(module, path, loaded):
            continue
        source = importlib.util.decode_source(path.read_bytes())
        files[_name_in_sources(module, path, loaded)] = source
        for name in _imported_names(source, _package_of(module, path)):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    _check_size(files)
    return Sources(main, dict(sorted(files.items())), loaded.object_name)


def _belongs(module: str, path: Path, loaded: LoadedStudy) -> bool:
    if path == loaded.path:
        return module == loaded.module
    return path.suffix == ".py" and is_local(path, loaded.roots)


def _name_in_sources(module: str, path: Path, loaded: LoadedStudy) -> str:
    if path == loaded.path and module.startswith("nnstudy_study_"):
        return path.name
    folder = module.replace(".", "/")
    return f"{folder}/__init__.py" if path.name == "__init__.py" else f"{folder}.py"


def _package_of(module: str, path: Path) -> str:
    return module if path.name == "__init__.py" else module.rpartition(".")[0]


def _imported_names(source: str, package: str) -> Iterator[str]:
    """Yields the modules that import statements may mean, parents included."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # imported inside a function only: says so when it is called
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            levels = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(levels if node.level else []), *filter(None, [node.module])])
            yield from _with_parents(base)
            # In "from package import name", the name may be a module as well.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _with_parents(module: str) -> Iterator[str]:
    parts = module.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _check_size(files: Mapping[str, str]) -> None:
    sizes = {path: len(text.encode()) for path, text in files.items()}
    if sum(sizes.values()) > MAX_BYTES:
        largest = sorted(sizes, key=lambda path: sizes[path], reverse=True)[:3]
        named = ", ".join(f"{path} ({sizes[path] / 1e6:.1f} MB)" for path in largest)
        raise UserError(
            f"The study's source files have {sum(sizes.values()) / 1e6:.1f} MB together, at most"
            f" {MAX_BYTES / 1e6:.0f} MB are kept with a study. The largest: {named}."
            " Keep data in files of their own, not in Python modules"
        )


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
