"""What one process may decide for itself: device, places and rules of keeping."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnstudy.errors import UserError


@dataclass(frozen=True)
class Settings:
    """Settings of a process, as opposed to what is stored with the study.

    Attributes:
        device: Where to train: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
        checkpoints: Directory of the checkpoints, shared by all workers.
        upload: Whether checkpoints are kept as MLflow artifacts instead.
        keep_best: How many of a trial's best checkpoints are kept.
        keep_every: Keep each n-th epoch's weights too; 0: none.
        disk_limit: Bytes that the checkpoints of the study may take; None: no limit.
        threads: Threads of each worker on the CPU.
        lease_seconds: How long a trial stays with a worker that makes no progress.
        checkpoint_every: Seconds after which a checkpoint is written inside an epoch.
        patience: Seconds for which a database, MLflow or a disk that is away is waited for,
            where nothing can go on without it, until the study pauses.
    """

    device: str = "auto"
    checkpoints: Path = Path("mlruns/checkpoints")
    upload: bool = False
    keep_best: int = 1
    keep_every: int = 0
    disk_limit: int | None = None
    threads: int = 1
    lease_seconds: float = 60.0
    checkpoint_every: float = 600.0
    patience: float = 600.0

    def __post_init__(self) -> None:
        """Raises UserError where a value cannot be meant."""
        for name, least in (("keep_best", 1), ("keep_every", 0), ("threads", 1)):
            if getattr(self, name) < least:
                raise UserError(
                    f"Settings({name}=...) must be at least {least}, got {getattr(self, name)}"
                )
        if self.upload and self.disk_limit is not None:
            raise UserError(
                "a limit on disk space holds for a directory of checkpoints; MLflow's artifacts"
                " have none: give a directory, or leave the limit out"
            )
        for name in ("lease_seconds", "checkpoint_every", "patience"):
            if not getattr(self, name) > 0:
                raise UserError(f"Settings({name}=...) must be above 0, got {getattr(self, name)}")
