"""What a training yields: one record a validation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Record:
    """What is known after one validation: an epoch, unless validations are more frequent.

    Attributes:
        step: Epochs completed, or intervals of ``validate_every`` examples where validations
            have an interval of their own; the last one may be shorter. 0 is the untrained
            network.
        epoch: Epochs completed, as a fraction where validations fall inside an epoch.
        examples_seen: Training examples seen so far, with repetition.
        seconds: Time spent in training and validation so far, in seconds, without pauses.
        values: The curves, by name; the part before the slash is the section of the chart:
            ``loss/train``, ``loss/valid``, ``accuracy/valid``, ``lr``.
        timestamp: When the record was made, in milliseconds since 1970.
        low_point: True at the end of a cycle of warm restarts, where the rate is lowest.
    """

    step: int
    epoch: float
    examples_seen: int = 0
    seconds: float = 0.0
    values: dict[str, float] = field(default_factory=dict)
    timestamp: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    low_point: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Returns the record as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Record:
        """Makes the record that ``to_dict`` gave."""
        return cls(**fields)
