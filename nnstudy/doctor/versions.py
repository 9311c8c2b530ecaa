"""Versions of Python and of the libraries, against what this package asks for."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from nnstudy.doctor.check import Check, ok, problem

_WHAT = "versions"
_TOLD = ("torch", "torchvision", "optuna", "mlflow")
_OPTIONAL = {"ray": ("ray", "--engine ray")}
_PACKAGE = "nnstudy"


def check_versions(*urls: str) -> Iterator[Check]:
    """Yields what is installed, and what is missing, too old or too new.

    Args:
        urls: Of databases; a PostgreSQL one asks for its driver.
    """
    yield ok(
        _WHAT,
        ", ".join(
            [f"nnstudy {_installed(_PACKAGE) or 'from its sources'}"]
            + [f"Python {platform.python_version()}"]
            + [f"{name} {_installed(name) or 'missing'}" for name in _TOLD]
        ),
    )
    yield from _check_requirements()
    yield from _check_torchvision()
    if any(url.startswith("postgres") for url in urls) and not _installed("psycopg"):
        yield problem(
            _WHAT,
            "PostgreSQL's driver psycopg is not installed",
            "pip install 'nnstudy[postgres]'",
        )
    for name, (extra, use) in _OPTIONAL.items():
        if not _installed(name):
            yield ok(
                _WHAT, f"{name} is not installed; {use} needs it: pip install 'nnstudy[{extra}]'"
            )


def _check_requirements() -> Iterator[Check]:
    try:
        described = metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError:
        return  # run from its sources, which do not tell what they ask for
    python = described.metadata["Requires-Python"]
    if python and not SpecifierSet(python).contains(platform.python_version(), prereleases=True):
        yield problem(
            _WHAT,
            f"Python {platform.python_version()} is none of {python}",
            "use another Python",
        )
    asked = [Requirement(text) for text in described.requires or []]
    needed = [one for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [check for one in needed if (check := _compare(one))]
    yield from wrong
    if not wrong:
        yield ok(_WHAT, f"all {len(needed)} requirements are met")


def _compare(required: Requirement) -> Check | None:
    found = _installed(required.name)
    if found is None:
        told = f"{required.name} is not installed"
    elif required.specifier.contains(found, prereleases=True):
        return None
    else:
        told = f"{required.name} is {found}, but must be {required.specifier}"
    return problem(_WHAT, told, f"pip install '{required.name}{required.specifier}'")


def _check_torchvision() -> Iterator[Check]:
    """Yields a problem where torch and torchvision are not built for each other."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        yield problem(
            _WHAT,
            f"torchvision cannot be imported: {reason}",
            "install torch and torchvision together, from one index",
        )


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
