"""What a confirmation has seen of the test part."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import optuna

from nnstudy.search.test_looks import test_looks


@dataclass(frozen=True)
class TakenLook:
    """What the networks of one configuration are worth on the test part.

    Attributes:
        when: Time of the look, ISO 8601.
        trial: Number of the search's trial that had the configuration.
        scores: Of each of its trainings, by name.
    """

    when: str
    trial: int
    scores: tuple[dict[str, float], ...]

    def mean(self, name: str) -> float:
        """Returns a score's mean over the trainings."""
        return statistics.fmean(score[name] for score in self.scores)

    def deviation(self, name: str) -> float:
        """Returns its standard deviation, 0 for one training."""
        values = [score[name] for score in self.scores]
        return statistics.stdev(values) if len(values) > 1 else 0.0

    def sentence(self) -> str:
        """Returns the scores in words."""
        told = ", ".join(
            f"{name} {self.mean(name):.4g} (deviation {self.deviation(name):.2g})"
            for name in self.scores[0]
        )
        return (
            f"on the test part, mean of {len(self.scores)} trainings of trial {self.trial}: {told}"
        )


def taken_look(study: optuna.Study) -> TakenLook | None:
    """Returns the look that a confirmation has taken, or None.

    Args:
        study: The confirmation's Optuna study.
    """
    for look in test_looks(study):
        if "scores" in look:
            return TakenLook(look["when"], look["trial"], tuple(look["scores"]))
    return None
