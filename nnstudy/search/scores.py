"""What a trial is judged by: one of its records, by the study's metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nnstudy.study import Direction
from nnstudy.training import Record
from nnstudy.training.scoring import best_record, score_of


@dataclass
class Scores:
    """Remembers the record that a trial is judged by.

    Attributes:
        metric: Key of the records that is optimised.
        direction: ``maximize`` or ``minimize``.
        counts: ``best``, the best record so far; or ``latest``, where each record is a mean
            over more trainings than the one before, and the last over all of them.
        judged: The record that counts so far, or None.
    """

    metric: str
    direction: Direction
    counts: Literal["best", "latest"] = "best"
    judged: Record | None = None

    def add(self, record: Record) -> float:
        """Returns the record's score.

        Raises:
            UserError: If the record does not have the metric.
        """
        score = self.of(record)
        if self.counts == "latest" or self.judged is None:
            self.judged = record
        else:
            self.judged = best_record([self.judged, record], self.metric, self.direction)
        return score

    def of(self, record: Record) -> float:
        """Returns a record's score."""
        return score_of(record, self.metric)

    @property
    def value(self) -> float | None:
        """The trial's value so far, or None."""
        return self.of(self.judged) if self.judged else None
