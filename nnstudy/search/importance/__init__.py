"""Which parameters of a stage matter, how sure that is, and whether two act together."""

from nnstudy.search.importance.evaluators import EvaluatorName
from nnstudy.search.importance.evidence import evidence_of
from nnstudy.search.importance.importances import (
    Group,
    Importance,
    StageImportance,
    is_drawn_evenly,
    stage_importance,
)
from nnstudy.search.importance.interaction import Interaction, interaction

__all__ = [
    "EvaluatorName",
    "Group",
    "Importance",
    "Interaction",
    "StageImportance",
    "evidence_of",
    "interaction",
    "is_drawn_evenly",
    "stage_importance",
]
