"""Checkpoints: files of weights and state that survive a crash and run no code when read."""

from __future__ import annotations

from nnstudy.training.checkpoints.disk_limit import enforce_limit, parse_size
from nnstudy.training.checkpoints.errors import CheckpointError
from nnstudy.training.checkpoints.files import read, read_metadata, read_weights, write
from nnstudy.training.checkpoints.keeper import Keeper
from nnstudy.training.checkpoints.names import CheckpointName, Kind, trial_directory

__all__ = [
    "CheckpointError",
    "CheckpointName",
    "Keeper",
    "Kind",
    "enforce_limit",
    "parse_size",
    "read",
    "read_metadata",
    "read_weights",
    "trial_directory",
    "write",
]
