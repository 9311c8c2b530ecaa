"""Looking inside a training, on PyTorch alone: each monitor works in any loop."""

from __future__ import annotations

from nnstudy.diagnostics.activations import ActivationMonitor
from nnstudy.diagnostics.first_layer import first_layer_picture
from nnstudy.diagnostics.first_layer_noise import first_layer_noise
from nnstudy.diagnostics.gradient import GradientCheck, TensorCheck, gradient_check
from nnstudy.diagnostics.histograms import Histogram, gradient_histograms, histogram_picture
from nnstudy.diagnostics.range_interval import find_interval, suggest_rates, why_none
from nnstudy.diagnostics.range_test import RangeTest, learning_rate_range_test
from nnstudy.diagnostics.update_ratios import UpdateRatioMonitor
from nnstudy.diagnostics.wiggle import LossWiggle

__all__ = [
    "ActivationMonitor",
    "GradientCheck",
    "Histogram",
    "LossWiggle",
    "RangeTest",
    "TensorCheck",
    "UpdateRatioMonitor",
    "find_interval",
    "first_layer_noise",
    "first_layer_picture",
    "gradient_check",
    "gradient_histograms",
    "histogram_picture",
    "learning_rate_range_test",
    "suggest_rates",
    "why_none",
]
