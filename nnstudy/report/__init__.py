"""What can be told of studies from what is stored."""

from nnstudy.report.status import Best, Running, StageStatus, stage_status, study_status
from nnstudy.report.time_left import time_left

__all__ = ["Best", "Running", "StageStatus", "stage_status", "study_status", "time_left"]
