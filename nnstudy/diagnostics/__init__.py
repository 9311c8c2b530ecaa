"""Looking inside a training, on PyTorch alone: each monitor works in any loop."""

from __future__ import annotations

from nnstudy.diagnostics.update_ratios import UpdateRatioMonitor

__all__ = ["UpdateRatioMonitor"]
