"""What a run was made with: versions, platform, commit."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("nnstudy", "torch", "torchvision", "optuna", "mlflow", "numpy")


def environment() -> dict[str, str]:
    """Returns what a run was made with, as tags.

    Nothing is imported for it, so it is quick. Keys are ``nnstudy.env.python``,
    ``nnstudy.env.torch`` and so on for installed packages, ``nnstudy.env.platform``, and MLflow's
    ``mlflow.source.git.commit`` and ``mlflow.source.git.dirty`` where the working directory is
    under git.
    """
    tags = {
        "nnstudy.env.python": platform.python_version(),
        "nnstudy.env.platform": platform.platform(),
    }
    for package in _PACKAGES:
        try:
            tags[f"nnstudy.env.{package}"] = version(package)
        except PackageNotFoundError:
            continue
    return tags | _commit()


@cache
def _commit() -> dict[str, str]:
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {}
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.dirty": str(bool(changed)).lower(),
    }


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
