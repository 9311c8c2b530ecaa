"""Reports that passed, kept so that nothing is checked again while nothing has changed."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import platformdirs
import torch

from nnstudy.errors import UserError
from nnstudy.preflight.report import Report
from nnstudy.study.building import Conditions
from nnstudy.training.checkpoints.atomic_write import write_atomically

KEPT_SECONDS = 30 * 24 * 3600.0

_LOG = logging.getLogger(__name__)


def key_of(sources: str, data: str, conditions: Conditions, version: str) -> str:
    """Returns a key that changes with whatever a check may depend on.

    Args:
        sources: Hash of the study file and what it imports.
        data: Digest of the data.
        conditions: What all trials have in common.
        version: Of this package.
    """
    parts = [sources, data, asdict(conditions), version, torch.__version__]
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def keep(key: str, report: Report, directory: Path | None = None) -> None:
    """Keeps a report in the user's cache directory; removes those of more than a month ago.

    Where it cannot be written, the next launch checks again.
    """
    directory = directory or _default_directory()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_old(directory)
        path = directory / f"{key}.json"
        write_atomically(path, json.dumps(report.to_dict()).encode())
        path.chmod(0o600)
    except OSError as error:
        _LOG.warning("The pre-flight report could not be kept in %s: %s", directory, error)


def recall(key: str, directory: Path | None = None) -> Report | None:
    """Returns a report that was kept, or None where there is none or it is damaged."""
    path = (directory or _default_directory()) / f"{key}.json"
    try:
        report = Report.from_dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, LookupError, TypeError, UserError):
        return None
    return report if report.passed else None


def _default_directory() -> Path:
    return platformdirs.user_cache_path("nnstudy") / "preflight"


def _remove_old(directory: Path) -> None:
    latest = time.time() - KEPT_SECONDS
    for path in directory.iterdir():
        with suppress(OSError):
            if path.stat().st_mtime < latest:
                path.unlink()
