"""What can be told of studies from what is stored."""

from nnstudy.report.race import Contender, Duel, RaceResult, race_result
from nnstudy.report.status import (
    Best,
    Finished,
    Running,
    StageStatus,
    spoilt_tests,
    stage_status,
    study_status,
)
from nnstudy.report.time_left import time_left

__all__ = [
    "Best",
    "Contender",
    "Duel",
    "Finished",
    "RaceResult",
    "Running",
    "StageStatus",
    "race_result",
    "spoilt_tests",
    "stage_status",
    "study_status",
    "time_left",
]
