"""Checks of a whole study before any budget is spent."""

from nnstudy.preflight.preflight import BUDGET_SECONDS, run_preflight
from nnstudy.preflight.rehearsal import Rehearsal, rehearse
from nnstudy.preflight.report import Report
from nnstudy.preflight.result import Check, Result

__all__ = [
    "BUDGET_SECONDS",
    "Check",
    "Rehearsal",
    "Report",
    "Result",
    "rehearse",
    "run_preflight",
]
