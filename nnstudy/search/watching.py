"""What is watched in every trial: curves that tell how a training goes, and a few pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psutil
import torch

from nnstudy.diagnostics import (
    ActivationMonitor,
    UpdateRatioMonitor,
    first_layer_picture,
    gradient_histograms,
    histogram_picture,
)
from nnstudy.diagnostics.pictures import Image
from nnstudy.search.reporting import is_reported
from nnstudy.training import Record, Training
from nnstudy.training.own_loop import OwnTraining

Show = Callable[[str, Image, int], None]
"""Takes a picture's name, the picture and its step."""

_SHARE_OF_PICTURES = 0.01  # of the time of the training
_FIRST_COST = 0.05  # seconds, while no pictures have been made
_SHORT_EPOCH = 100  # minibatches
_MEGABYTE = 1e6


class Watch:
    """Looks at a training from outside; the training's numbers are the same without it.

    Of a training loop of the user's own there is less to see: its network's activations and
    first layer where it shows its network, and what follows from its records.

    Args:
        training: What is watched, with its state loaded.
        shape: Of one input.
        show: Takes the pictures; None: none are made.
    """

    def __init__(
        self, training: Training | OwnTraining, shape: Sequence[int], show: Show | None
    ) -> None:
        self._training = training
        self._shape = shape
        self._show = show
        self._ratios: UpdateRatioMonitor | None = None
        self._activations: ActivationMonitor | None = None
        if isinstance(training, Training):
            self._ratios = UpdateRatioMonitor(
                training.network,
                training.optimizer,
                steps_per_epoch=training.budget.minibatches_between,
            )
        if training.network is not None:
            self._activations = ActivationMonitor(training.network)
        self._process = psutil.Process()
        self._next_pictures = 1
        self._seconds_of_pictures = 0.0
        self._cost = _FIRST_COST

    def observe(self, record: Record) -> None:
        """Adds to the values of a validation, and shows pictures where they are due."""
        if self._show is not None and self._are_pictures_due(record):
            self._show_pictures(record.step, self._show)
        values = dict(self._small_curves(record))
        for monitor in (self._ratios, self._activations):
            if monitor is not None:
                values |= monitor.values()  # also where they are not told, to start again
        if self._is_told(record):
            # What a loop of the user's own says itself counts.
            record.values |= {name: v for name, v in values.items() if name not in record.values}

    def state_dict(self) -> dict[str, Any]:
        """Returns what was measured since the last validation."""
        return {"ratios": self._ratios.state_dict() if self._ratios else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state that ``state_dict`` gave.

        Activations have none: they are seen in validation, which is repeated as a whole.
        """
        if self._ratios is not None:
            self._ratios.load_state_dict(state["ratios"])

    def _is_told(self, record: Record) -> bool:
        """Tells whether a validation gets these curves.

        Each of their values costs MLflow some 50 microseconds, so after short epochs they thin
        out as reports do, by the step, so that a continued training has the same ones.
        """
        training = self._training
        if not isinstance(training, Training) or training.ended is not None:
            return True
        budget = training.budget
        is_long = budget.minibatches_between >= _SHORT_EPOCH
        return is_long or is_reported(record.step, budget.validations)

    def _small_curves(self, record: Record) -> Iterator[tuple[str, float]]:
        values = record.values
        if "accuracy/train" in values and "accuracy/valid" in values:
            yield "gap/accuracy", values["accuracy/train"] - values["accuracy/valid"]
        before = next((r for r in reversed(self._training.history) if r.step < record.step), None)
        examples = record.examples_seen - (before.examples_seen if before else 0)
        seconds = record.seconds - (before.seconds if before else 0.0)
        if examples > 0 and seconds > 0:
            yield "speed/examples_per_second", examples / seconds
        yield "memory/resident_mb", self._process.memory_info().rss / _MEGABYTE
        if isinstance(self._training, Training) and self._training.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._training.device)
            yield "memory/cuda_peak_mb", peak / _MEGABYTE

    # -- Pictures ---------------------------------------------------------------------------

    def _are_pictures_due(self, record: Record) -> bool:
        """Tells whether to show pictures: at the end, and before that ever more rarely.

        Each time comes after at least twice as many steps as the one before, and when the
        training has lasted long enough for what they cost.
        """
        if self._training.ended is not None:
            return True
        affordable = _SHARE_OF_PICTURES * record.seconds
        is_affordable = self._seconds_of_pictures + self._cost <= affordable
        return record.step >= self._next_pictures and is_affordable

    def _show_pictures(self, step: int, show: Show) -> None:
        started = time.perf_counter()
        for name, image in self._pictures():
            show(name, image, step)
        self._next_pictures = 2 * step
        self._cost = time.perf_counter() - started
        self._seconds_of_pictures += self._cost

    def _pictures(self) -> Iterator[tuple[str, Image]]:
        network = self._training.network
        if network is None or self._activations is None:
            return
        first_layer = first_layer_picture(network, self._shape)
        if first_layer is not None:
            yield "first layer", first_layer
        sections = {
            "activation": self._activations.histograms(),
            "gradient": gradient_histograms(network),
        }
        histograms = {
            f"{section} {name}": histogram
            for section, found in sections.items()
            for name, histogram in found.items()
        }
        if histograms:
            yield "distributions", histogram_picture(histograms)
