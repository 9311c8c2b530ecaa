"""MLflow's side: runs with explicit ids, late delivery, the saved view, the UI."""

from nnstudy.tracking.away import TrackingAway
from nnstudy.tracking.environment import environment
from nnstudy.tracking.location import Location
from nnstudy.tracking.runs import Run, StageRun, Status, TrialRun
from nnstudy.tracking.tracker import Tracker
from nnstudy.tracking.ui import serve

__all__ = [
    "Location",
    "Run",
    "StageRun",
    "Status",
    "Tracker",
    "TrackingAway",
    "TrialRun",
    "environment",
    "serve",
]
