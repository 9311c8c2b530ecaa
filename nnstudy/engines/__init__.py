"""Where workers run, and the launch that starts them."""

from nnstudy.engines.checking import check
from nnstudy.engines.confirming import ConfirmResult, confirm
from nnstudy.engines.distilling import DistillResult, distill
from nnstudy.engines.ensembling import EnsembleResult, ensemble
from nnstudy.engines.joining import JoinResult, join
from nnstudy.engines.launch import LaunchResult, launch
from nnstudy.engines.options import LaunchOptions, RayOptions
from nnstudy.engines.predicting import PredictResult, predict
from nnstudy.engines.quick import quick
from nnstudy.engines.quick_result import QuickResult
from nnstudy.engines.race import Race, race
from nnstudy.search.settings import Settings

__all__ = [
    "ConfirmResult",
    "DistillResult",
    "EnsembleResult",
    "JoinResult",
    "LaunchOptions",
    "LaunchResult",
    "PredictResult",
    "QuickResult",
    "Race",
    "RayOptions",
    "Settings",
    "check",
    "confirm",
    "distill",
    "ensemble",
    "join",
    "launch",
    "predict",
    "quick",
    "race",
]
