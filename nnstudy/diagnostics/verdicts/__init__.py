"""Verdicts: what the curves of a training say about it, with evidence and advice."""

from nnstudy.diagnostics.verdicts.course import Course
from nnstudy.diagnostics.verdicts.rules import RULES, Rule, judge
from nnstudy.diagnostics.verdicts.verdict import Verdict

__all__ = ["RULES", "Course", "Rule", "Verdict", "judge"]
