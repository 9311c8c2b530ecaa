"""The packages that a packed ensemble needs, with the versions that it was made with."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version

from packaging.requirements import Requirement
from packaging.version import Version

from nnstudy.study.sources import Sources

_OWN = "nnstudy"


def pinned_requirements(sources: Sources) -> list[str]:
    """Returns requirements for pip: what nnstudy depends on, and what the study's code imports.

    nnstudy itself is not among them: its source goes with the model.

    Args:
        sources: The study's code.
    """
    distributions = packages_distributions()
    imported = {
        name for module in _imported_modules(sources) for name in distributions.get(module, [])
    }
    return sorted(
        f"{name}=={Version(version(name)).public}"  # the index has no 2.9.0+cpu
        for name in {*_dependencies(), *imported} - {_OWN}
    )


def _dependencies() -> Iterator[str]:
    try:
        declared = [Requirement(text) for text in requires(_OWN) or ()]
    except PackageNotFoundError:  # imported from a checkout that is not installed
        declared = []
    for requirement in declared:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def _imported_modules(sources: Sources) -> set[str]:
    own = {path.partition("/")[0].removesuffix(".py") for path in sources.files}
    found = set()
    for text in sources.files.values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - own - sys.stdlib_module_names
