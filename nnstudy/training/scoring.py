"""Records compared by one of their values."""

from __future__ import annotations

import math
from collections.abc import Iterable

from nnstudy.errors import UserError
from nnstudy.training.early_stopping import Direction
from nnstudy.training.record import Record


def score_of(record: Record, metric: str) -> float:
    """Returns the value of a record that counts.

    Raises:
        UserError: If the record does not have it; names those that it has.
    """
    if metric not in record.values:
        raise UserError(
            f"the metric {metric!r} is not among the values of an epoch:"
            f" {', '.join(sorted(record.values))}. Set Study(metric=...) to one of them"
        )
    return record.values[metric]


def best_record(records: Iterable[Record], metric: str, direction: Direction) -> Record | None:
    """Returns the best record, the first one of several; None where there are none.

    NaN is worse than any number.
    """
    sign = 1.0 if direction == "maximize" else -1.0

    def worth(record: Record) -> tuple[bool, float]:
        score = score_of(record, metric)
        return (False, 0.0) if math.isnan(score) else (True, sign * score)

    return max(records, key=worth, default=None)
