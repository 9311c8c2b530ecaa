"""A place of its own for each launch."""

from tests.launching import every_epoch_is_told, fresh_mlflow, new_place, place

__all__ = ["every_epoch_is_told", "fresh_mlflow", "new_place", "place"]
