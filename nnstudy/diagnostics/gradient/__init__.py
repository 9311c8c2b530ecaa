"""The gradient check."""

from __future__ import annotations

from nnstudy.diagnostics.gradient.check import gradient_check
from nnstudy.diagnostics.gradient.result import GradientCheck, TensorCheck

__all__ = ["GradientCheck", "TensorCheck", "gradient_check"]
