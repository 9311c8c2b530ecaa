"""From a name or a path on the command line to a ``Study``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

from nnstudy.errors import UserError
from nnstudy.study.blame import blame
from nnstudy.study.discovery import StudyInfo, find_study
from nnstudy.study.locality import is_local
from nnstudy.study.study import Study


@dataclass(frozen=True)
class LoadedStudy:
    """A study and where it came from.

    Attributes:
        study: The study.
        path: Its file.
        object_name: The variable that holds it.
        reference: A reference that loads it again, also from a worker process: the path
            (absolute) and the variable, or the name of an entry point.
        module: Name of the module it was executed as; found in ``sys.modules``.
        roots: Folders below which the user's own files lie.
        imported: Names of the modules of hers that were imported with it.
    """

    study: Study
    path: Path
    object_name: str
    reference: str
    module: str
    roots: tuple[Path, ...]
    imported: frozenset[str]


def load_study(reference: str, *, directory: Path = Path()) -> LoadedStudy:
    """Loads a study from ``NAME[:object]`` or ``path/to/study.py[:object]``.

    What ends in ``.py`` is a path. A name is looked for as ``find_study`` says. The file is
    executed like a script: the modules beside it and those of the working directory can be
    imported. Without an object the variable ``study`` is taken, or the file's only study.
    Loading again executes the file and the user's modules that it imports again.

    Args:
        reference: The study to load.
        directory: The working directory.

    Raises:
        UserError: If there is no such study or file, if the file raises (the message has
            the file, the line and the exception), or if it does not hold the object.
    """
    location, object_name = _split(reference)
    if location.endswith(".py"):
        return _load_file(directory / Path(location).expanduser(), object_name, directory)
    info = find_study(location, directory)
    if info.entry_point is None and info.path is not None:
        return _load_file(info.path, object_name, directory)
    return _load_entry_point(info, object_name)


def _split(reference: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"(?P<location>.+\.py|[^:]*)(:(?P<object>\w*))?", reference, re.DOTALL)
    if match is None or match["object"] == "":
        raise UserError(
            f"{reference!r} is no study: expected NAME or path/to/study.py, each optionally"
            " followed by ':' and the variable that holds the study"
        )
    return match["location"], match["object"]


def _load_file(path: Path, object_name: str | None, directory: Path) -> LoadedStudy:
    if not path.exists():
        raise UserError(f"There is no study file {path} (looked in {directory.absolute()})")
    if not path.is_file():
        raise UserError(f"{path} is a folder, not a study file")
    path = path.resolve()
    roots = tuple(dict.fromkeys((path.parent, directory.resolve())))
    _forget_earlier_imports()
    before = set(sys.modules)
    with _importable(roots):
        try:
            module = _execute(path)
        except (Exception, SystemExit) as error:
            message = blame(error, lambda file: file == path or is_local(file, roots))
            raise UserError(f"The study file {path} cannot be loaded: {message}") from error
        finally:
            imported = _local_modules(set(sys.modules) - before, roots)
            _imported_by_studies.update(imported)
    object_name, study = _pick(module, object_name, path)
    return LoadedStudy(
        study, path, object_name, f"{path}:{object_name}", module.__name__, roots, imported
    )


def _execute(path: Path) -> ModuleType:
    # The name depends on the path alone, so that what was pickled by reference in one
    # process is found in another that has loaded the same file.
    digest = hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()
    name = f"nnstudy_study_{re.sub(r'[^0-9A-Za-z]', '_', path.stem)}_{digest}"
    importlib.invalidate_caches()
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, "a .py file has a loader"  # noqa: PT018
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _importable(roots: Sequence[Path]) -> Iterator[None]:
    """Puts ``roots`` in front of the module search path, and behind it afterwards.

    In front, as for any script. They stay, since a recipe may import when it is called; but
    behind, so that a study called ``random.py`` does not stand in for a library's module.
    """
    entries = [str(root) for root in roots]
    sys.path[:0] = entries
    try:
        yield
    finally:
        for entry in entries:
            sys.path.remove(entry)
        others = [entry for entry in sys.path if entry not in _folders_of_studies]
        latest_first = dict.fromkeys([*entries, *_folders_of_studies])
        _folders_of_studies[:] = [entry for entry in latest_first if entry not in others]
        sys.path[:] = others + _folders_of_studies


_folders_of_studies: list[str] = []
_imported_by_studies: set[str] = set()


def _forget_earlier_imports() -> None:
    """Lets an edited module be read again, and keeps two studies' modules of one name apart."""
    for name in _imported_by_studies:
        sys.modules.pop(name, None)
    _imported_by_studies.clear()


def _local_modules(names: set[str], roots: Sequence[Path]) -> frozenset[str]:
    files = {name: getattr(sys.modules[name], "__file__", None) for name in names}
    return frozenset(name for name, file in files.items() if file and is_local(Path(file), roots))


def _load_entry_point(info: StudyInfo, object_name: str | None) -> LoadedStudy:
    entry_point: EntryPoint | None = info.entry_point
    assert entry_point is not None, "a study without a file comes from an entry point"
    package = entry_point.module.partition(".")[0]
    parents = info.path.resolve().parents if info.path else ()
    roots = tuple(folder for folder in parents if folder.name == package)[-1:]
    before = set(sys.modules)
    try:
        module = importlib.import_module(entry_point.module)
    except (Exception, SystemExit) as error:
        message = blame(error, lambda file: file == info.path or is_local(file, roots))
        raise UserError(
            f"The study {info.name!r} of {info.origin} (entry point {entry_point.value!r})"
            f" cannot be loaded: {message}"
        ) from error
    own = {name for name in sys.modules if name.partition(".")[0] == package}
    imported = frozenset(own | _local_modules(set(sys.modules) - before, roots))
    path = Path(module.__file__ or "")
    object_name, study = _pick(module, object_name or entry_point.attr or None, path)
    reference = f"{info.name}:{object_name}"
    return LoadedStudy(study, path, object_name, reference, module.__name__, roots, imported)


def _pick(module: ModuleType, object_name: str | None, path: Path) -> tuple[str, Study]:
    studies = {name: value for name, value in vars(module).items() if isinstance(value, Study)}
    if object_name is None:
        object_name = next(iter(studies)) if len(studies) == 1 else "study"
    if object_name in studies:
        return object_name, studies[object_name]
    if hasattr(module, object_name):
        kind = type(getattr(module, object_name)).__name__
        problem = f"{object_name!r} in {path} is no nnstudy.Study but a {kind}"
    else:
        problem = f"{path} has no variable {object_name!r}"
    if not studies:
        raise UserError(f"{problem}. Nor does the file hold any: study = Study(name, recipe, ...)")
    names = ", ".join(studies)
    raise UserError(f"{problem}. It holds: {names}. Choose with {path.name}:{next(iter(studies))}")
