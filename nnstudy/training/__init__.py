"""Training a network: the loop, its records and its parts. Knows neither Optuna nor MLflow."""

from nnstudy.training.callbacks import Callback
from nnstudy.training.early_stopping import EarlyStopping
from nnstudy.training.loop import Diverged, Training
from nnstudy.training.recipe import Loss, Metric, OwnLoop, Recipe, Schedule, Steps
from nnstudy.training.record import Record
from nnstudy.training.repeated import RepeatedTraining
from nnstudy.training.teacher import Teacher

__all__ = [
    "Callback",
    "Diverged",
    "EarlyStopping",
    "Loss",
    "Metric",
    "OwnLoop",
    "Recipe",
    "Record",
    "RepeatedTraining",
    "Schedule",
    "Steps",
    "Teacher",
    "Training",
]
