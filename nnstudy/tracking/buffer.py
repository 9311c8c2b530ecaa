"""What is to be written to a run and has not arrived yet."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# MLflow takes at most 1,000 metrics, parameters and tags together in one request, and at most
# 100 tags; room for those is kept in each.
METRICS_PER_BATCH = 900
TAGS_PER_BATCH = 100

_LONGEST_KEY = 250
_LONGEST_TAG = 8000

Point = tuple[str, float, int, int]
"""One value of a curve: key, value, time stamp in milliseconds since 1970, step."""


@dataclass
class Buffer:
    """Metrics and tags on their way to a run, in the order in which they were made.

    Attributes:
        points: Values of curves.
        tags: Tags, the last value of each.
    """

    points: list[Point] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """True while something waits."""
        return bool(self.points or self.tags)

    def add(self, values: Mapping[str, float], *, step: int, timestamp: int) -> None:
        """Appends one value to each of several curves."""
        self.points += [(valid_key(k), float(v), timestamp, step) for k, v in values.items()]

    def tag(self, tags: Mapping[str, Any]) -> None:
        """Sets tags; values are made text and cut at MLflow's limit."""
        self.tags.update({valid_key(k): cut(v, _LONGEST_TAG) for k, v in tags.items()})

    def next_batch(self) -> Buffer:
        """Returns as much from the front as fits in one request."""
        return Buffer(
            self.points[:METRICS_PER_BATCH], dict(list(self.tags.items())[:TAGS_PER_BATCH])
        )

    def drop(self, batch: Buffer) -> None:
        """Forgets what has arrived."""
        del self.points[: len(batch.points)]
        for key, value in batch.tags.items():
            if self.tags.get(key) == value:
                del self.tags[key]


def valid_key(name: str) -> str:
    """Returns a name as MLflow takes it for metrics, parameters and tags.

    Other characters than letters, digits and ``_ - . / :`` and space become underscores.
    """
    key = posixpath.normpath(re.sub(r"[^\w\-./: ]", "_", name))
    key = re.sub(r"^(\.{0,2}/)+", "", key)[:_LONGEST_KEY]
    return "_" if key in ("", ".", "..") else key


def cut(value: object, longest: int) -> str:
    """Returns a value as text, with an ellipsis where it is longer than allowed."""
    text = str(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
