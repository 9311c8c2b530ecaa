"""Is all there that a study needs, and does all that is stored of one agree?"""

from __future__ import annotations

from nnstudy.doctor.check import Check
from nnstudy.doctor.comparison import compare, reconcile
from nnstudy.doctor.diagnosis import Diagnosis, diagnose
from nnstudy.doctor.examination import examine
from nnstudy.doctor.finding import Finding
from nnstudy.doctor.places import Places

__all__ = [
    "Check",
    "Diagnosis",
    "Finding",
    "Places",
    "compare",
    "diagnose",
    "examine",
    "reconcile",
]
