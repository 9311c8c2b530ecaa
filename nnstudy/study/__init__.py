"""Studies and where they come from."""

from nnstudy.study.stage import Stage
from nnstudy.study.study import Direction, Study

__all__ = ["Direction", "Stage", "Study"]
