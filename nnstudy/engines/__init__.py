"""Where workers run, and the launch that starts them.

Each name is imported at its first use: a worker needs few of them, and waits for none of the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnstudy.engines.checking import check as check
    from nnstudy.engines.confirming import ConfirmResult as ConfirmResult
    from nnstudy.engines.confirming import confirm as confirm
    from nnstudy.engines.distilling import DistillResult as DistillResult
    from nnstudy.engines.distilling import distill as distill
    from nnstudy.engines.ensembling import EnsembleResult as EnsembleResult
    from nnstudy.engines.ensembling import ensemble as ensemble
    from nnstudy.engines.joining import JoinResult as JoinResult
    from nnstudy.engines.joining import join as join
    from nnstudy.engines.launching import LaunchResult as LaunchResult
    from nnstudy.engines.launching import launch as launch
    from nnstudy.engines.options import LaunchOptions as LaunchOptions
    from nnstudy.engines.options import RayOptions as RayOptions
    from nnstudy.engines.predicting import PredictResult as PredictResult
    from nnstudy.engines.predicting import predict as predict
    from nnstudy.engines.quick_feedback import quick as quick
    from nnstudy.engines.quick_result import QuickResult as QuickResult
    from nnstudy.engines.racing import Race as Race
    from nnstudy.engines.racing import race as race
    from nnstudy.search.settings import Settings as Settings

_HOMES = {
    "ConfirmResult": "nnstudy.engines.confirming",
    "DistillResult": "nnstudy.engines.distilling",
    "EnsembleResult": "nnstudy.engines.ensembling",
    "JoinResult": "nnstudy.engines.joining",
    "LaunchOptions": "nnstudy.engines.options",
    "LaunchResult": "nnstudy.engines.launching",
    "PredictResult": "nnstudy.engines.predicting",
    "QuickResult": "nnstudy.engines.quick_result",
    "Race": "nnstudy.engines.racing",
    "RayOptions": "nnstudy.engines.options",
    "Settings": "nnstudy.search.settings",
    "check": "nnstudy.engines.checking",
    "confirm": "nnstudy.engines.confirming",
    "distill": "nnstudy.engines.distilling",
    "ensemble": "nnstudy.engines.ensembling",
    "join": "nnstudy.engines.joining",
    "launch": "nnstudy.engines.launching",
    "predict": "nnstudy.engines.predicting",
    "quick": "nnstudy.engines.quick_feedback",
    "race": "nnstudy.engines.racing",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'nnstudy.engines' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
