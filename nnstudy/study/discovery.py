"""Which studies there are, found without executing any of them."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from nnstudy.errors import UserError
from nnstudy.study.locality import find_module_file
from nnstudy.study.names import validate_name

ENTRY_POINT_GROUP = "nnstudy.studies"
"""Entry points by which other packages ship studies: a module, or ``module:object``."""


@dataclass(frozen=True)
class StudyInfo:
    """A study that can be launched by its name.

    Attributes:
        name: What to type.
        origin: ``"studies"`` in the working directory, ``"shipped"``, or ``"package NAME"``.
        path: Its file; None where a package announces one that cannot be found.
        summary: First line of the file's docstring, or what keeps it from being read.
        entry_point: The announcement, for a study from another package.
    """

    name: str
    origin: str
    path: Path | None
    summary: str
    entry_point: EntryPoint | None = None


def available_studies(directory: Path = Path()) -> list[StudyInfo]:
    """Returns what can be launched by name, each name once, as ``find_study`` resolves it.

    Args:
        directory: The working directory, whose ``studies`` folder comes first.
    """
    found: dict[str, StudyInfo] = {}
    for info in _all_studies(directory):
        found.setdefault(info.name, info)
    return [info for info in found.values() if info.entry_point or _may_hold_study(info.path)]


def find_study(name: str, directory: Path = Path()) -> StudyInfo:
    """Returns the study of this name.

    Args:
        name: Looked for in the working directory's ``studies``, among the shipped studies
            and in the entry-point group ``nnstudy.studies``, in this order.
        directory: The working directory.

    Raises:
        UserError: If it cannot be a name, or nothing is called so; the message lists what
            exists and where it was looked for.
    """
    try:
        validate_name(name)
    except UserError as error:
        raise UserError(f"{error}. A study file is given by its path, ending in '.py'") from None
    for info in _all_studies(directory):
        if info.name == name:
            return info
    raise UserError(_unknown(name, directory))


def shipped_directory() -> Path:
    """Returns the folder of the shipped studies.

    It lies inside the package when installed from a wheel, and beside the package in a
    source checkout or an editable install.
    """
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "studies"
    in_checkout = (package.parent / "pyproject.toml").is_file() and beside.is_dir()
    return beside if in_checkout else package / "studies"


def _all_studies(directory: Path) -> Iterator[StudyInfo]:
    yield from _in_folder(directory / "studies", "studies")
    yield from _in_folder(shipped_directory(), "shipped")
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
        path = find_module_file(entry_point.module)
        package = entry_point.dist.name if entry_point.dist else entry_point.module
        summary = _summary(path) if path else f"module {entry_point.module} not found"
        yield StudyInfo(entry_point.name, f"package {package}", path, summary, entry_point)


def _in_folder(folder: Path, origin: str) -> Iterator[StudyInfo]:
    for path in sorted(folder.glob("*.py")):
        if not path.name.startswith(("_", ".")):
            yield StudyInfo(path.stem, origin, path, _summary(path))


def _may_hold_study(path: Path | None) -> bool:
    """Tells study files from the modules beside them, which are not to be listed."""
    try:
        return path is not None and b"Study" in path.read_bytes()
    except OSError:  # listed as unreadable
        return True


def _summary(path: Path) -> str:
    try:
        docstring = ast.get_docstring(ast.parse(path.read_bytes()))
    except (OSError, SyntaxError, ValueError) as error:
        return f"cannot be read: {error}"
    return (docstring or "").partition("\n")[0]


def _unknown(name: str, directory: Path) -> str:
    known = available_studies(directory)
    close = difflib.get_close_matches(name, [info.name for info in known], n=3, cutoff=0.5)
    suggestion = f" Did you mean {' or '.join(close)}?" if close else ""
    places = [
        ("studies", str((directory / "studies").absolute())),
        ("shipped", str(shipped_directory())),
        ("package", f"entry points {ENTRY_POINT_GROUP!r} of installed packages"),
    ]
    lines = [f"No study is called {name!r}.{suggestion} Looked for in:"]
    for origin, place in places:
        names = [info.name for info in known if info.origin.split()[0] == origin]
        lines.append(f"  {place}: {', '.join(names) or 'no study'}")
    if (directory / f"{name}.py").is_file():
        lines.append(f"There is a file {name}.py here: give its path, {name}.py")
    else:
        lines.append(f"Give the path of a study file, or make one: nnstudy new {name}")
    return "\n".join(lines)
