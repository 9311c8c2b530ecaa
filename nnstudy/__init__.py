"""Tune neural networks the way a careful person would.

The names below are what a study file needs. They are imported when first used, so that
``nnstudy --help`` answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from nnstudy import models as models
    from nnstudy.data import Split as Split
    from nnstudy.data import augmentation as augmentation
    from nnstudy.data import datasets as datasets
    from nnstudy.diagnostics import ActivationMonitor as ActivationMonitor
    from nnstudy.diagnostics import LossWiggle as LossWiggle
    from nnstudy.diagnostics import UpdateRatioMonitor as UpdateRatioMonitor
    from nnstudy.diagnostics import first_layer_picture as first_layer_picture
    from nnstudy.diagnostics import gradient_check as gradient_check
    from nnstudy.diagnostics import gradient_histograms as gradient_histograms
    from nnstudy.diagnostics import histogram_picture as histogram_picture
    from nnstudy.diagnostics import learning_rate_range_test as learning_rate_range_test
    from nnstudy.diagnostics import suggest_rates as suggest_rates
    from nnstudy.engines.checking import check as check
    from nnstudy.engines.confirming import confirm as confirm
    from nnstudy.engines.launching import launch as launch
    from nnstudy.errors import UserError as UserError
    from nnstudy.models import initialisers as initialisers
    from nnstudy.study import Stage as Stage
    from nnstudy.study import Study as Study
    from nnstudy.study import plans as plans
    from nnstudy.training import Callback as Callback
    from nnstudy.training import EarlyStopping as EarlyStopping
    from nnstudy.training import OwnLoop as OwnLoop
    from nnstudy.training import Recipe as Recipe
    from nnstudy.training import Record as Record
    from nnstudy.training import Training as Training
    from nnstudy.training import losses as losses
    from nnstudy.training import schedules as schedules

_HOMES = {
    "ActivationMonitor": "nnstudy.diagnostics",
    "Callback": "nnstudy.training",
    "EarlyStopping": "nnstudy.training",
    "LossWiggle": "nnstudy.diagnostics",
    "OwnLoop": "nnstudy.training",
    "Recipe": "nnstudy.training",
    "Record": "nnstudy.training",
    "Split": "nnstudy.data",
    "Stage": "nnstudy.study",
    "Study": "nnstudy.study",
    "Training": "nnstudy.training",
    "UpdateRatioMonitor": "nnstudy.diagnostics",
    "UserError": "nnstudy.errors",
    "augmentation": "nnstudy.data",
    "check": "nnstudy.engines",
    "confirm": "nnstudy.engines",
    "datasets": "nnstudy.data",
    "first_layer_picture": "nnstudy.diagnostics",
    "gradient_check": "nnstudy.diagnostics",
    "gradient_histograms": "nnstudy.diagnostics",
    "histogram_picture": "nnstudy.diagnostics",
    "initialisers": "nnstudy.models",
    "launch": "nnstudy.engines",
    "learning_rate_range_test": "nnstudy.diagnostics",
    "losses": "nnstudy.training",
    "models": "nnstudy",
    "plans": "nnstudy.study",
    "schedules": "nnstudy.training",
    "suggest_rates": "nnstudy.diagnostics",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'nnstudy' has no attribute {name!r}")
    if home == "nnstudy" or name in _SUBMODULES:
        return import_module(f"{home}.{name}")
    return getattr(import_module(home), name)


_SUBMODULES = {"augmentation", "datasets", "initialisers", "losses", "plans", "schedules"}


def __dir__() -> list[str]:
    return sorted(__all__)
