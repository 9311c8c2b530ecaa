"""Checks of a whole study before any budget is spent."""

from nnstudy.preflight.rehearsal import Rehearsal, rehearse

__all__ = ["Rehearsal", "rehearse"]
