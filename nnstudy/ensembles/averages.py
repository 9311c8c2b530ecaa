"""Uniform averages of one training's weights, made of the epochs that it has kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from nnstudy.data import Part
from nnstudy.ensembles.candidates import Candidate
from nnstudy.ensembles.combination import unrelated
from nnstudy.ensembles.predictions import Predictor
from nnstudy.errors import UserError
from nnstudy.training.averaging import refresh_batch_norm, uniform_average
from nnstudy.training.checkpoints import (
    CheckpointError,
    CheckpointName,
    read_metadata,
    read_weights,
    write,
)
from nnstudy.training.devices import resolve_device
from nnstudy.training.evaluation import evaluation_batch_size

_BEGIN = 0.75  # of a training, as in section 4 of Izmailov et al. 2018


@dataclass(frozen=True)
class Average:
    """The mean of some epochs of one training, which is still to be made.

    Attributes:
        epochs: The epochs, the first one first.
    """

    epochs: tuple[Candidate, ...]

    def __str__(self) -> str:
        """Returns how it is called where it is told of."""
        return str(self.averaged("", math.nan))

    @property
    def key(self) -> str:
        """Tells it from all other candidates."""
        return " ".join(one.place for one in self.epochs)

    def averaged(self, place: str, value: float) -> Candidate:
        """Returns the candidate that it becomes.

        Args:
            place: Where its weights are kept.
            value: What they reach on the validation part.
        """
        last = self.epochs[-1]
        epochs = tuple(one.checkpoint.epoch or 0.0 for one in self.epochs)
        return replace(last, place=place, value=value, averaged=epochs)


def last_epochs(kept: Sequence[Candidate]) -> Average | None:
    """Returns the average over the end of a training; None where it has kept too few epochs.

    It is over the epochs that were kept in its last quarter, and at least the last two.

    Args:
        kept: The spaced epochs that one training has kept, in any order.
    """
    epochs = sorted(kept, key=lambda one: one.checkpoint.epoch or 0.0)
    if len(epochs) < 2:
        return None
    end = epochs[-1].checkpoint.epoch or 0.0
    late = [one for one in epochs if (one.checkpoint.epoch or 0.0) > _BEGIN * end]
    return Average(tuple(late if len(late) > 1 else epochs[-2:]))


def average_weights(
    candidates: Sequence[Candidate], read: Callable[[Candidate], Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Returns the mean of candidates' weights.

    Args:
        candidates: Of one training.
        read: Returns a candidate's weights.

    Raises:
        UserError: If they are of several trainings. Those find weights whose mean is no good
            network: units may stand in any order, and nothing makes two trainings choose the
            same (Entezari et al. 2022, "The role of permutation invariance in linear mode
            connectivity of neural networks"; Frankle et al. 2020, "Linear mode connectivity and
            the lottery ticket hypothesis").
    """
    first = candidates[0]
    for other in candidates[1:]:
        if _training(other) != _training(first):
            raise UserError(unrelated(f"{first} and {other}"))
    return uniform_average(read(one) for one in candidates)


def make(average: Average, predictor: Predictor) -> Candidate:
    """Makes an average, or finds it where it was made before.

    Statistics of batch normalisation are computed again on the training part, without
    augmentation, in an order that is always the same.

    Args:
        average: What to make.
        predictor: Rebuilds the networks, and knows where they are kept.

    Returns:
        The average, with what it reaches on the validation part. Its file carries the hashes of
        what it was made of in its directory's name.

    Raises:
        UserError: If the weights of an epoch cannot be had any more.
    """
    paths = {one.place: predictor.weights(one) for one in average.epochs}
    last = average.epochs[-1]
    home = predictor.home("averages", *paths.values())
    found = next(_readable(home), None) if predictor.code else None
    if found is None:
        weights = average_weights(average.epochs, lambda one: read_weights(paths[one.place]))
        trained = predictor.rebuild(last)
        predictor.refuse_another(last, trained)
        trained.network.load_state_dict(weights)
        device = resolve_device(predictor.settings.device)
        part = predictor.data.with_share(last.plan.data_share).train
        refresh_batch_norm(trained.network, _minibatches(trained.network, part, device))
        score = predictor.score(last, trained)
        name = CheckpointName("average", last.checkpoint.epoch, score, last.checkpoint.repeat)
        found = home / str(name)
        metadata = {**read_metadata(paths[last.place]), "kind": "average", "score": repr(score)}
        metadata.pop("record", None)  # that of the epoch
        write(found, {"average": {"network": trained.network.state_dict()}}, metadata)
    return average.averaged(str(found.absolute()), float(read_metadata(found)["score"]))


def _training(candidate: Candidate) -> tuple[str, int, int | None]:
    return candidate.plan.name, candidate.trial.number, candidate.checkpoint.repeat


def _readable(home: Path) -> Iterator[Path]:
    for path in home.glob("average-*"):
        try:
            read_weights(path)
        except CheckpointError:
            continue
        yield path


def _minibatches(network: nn.Module, part: Part, device: torch.device) -> Iterator[Tensor]:
    """Yields shuffled inputs, since those of one class alone would have its statistics."""
    size = min(evaluation_batch_size(network, device), len(part))
    order = part.order(torch.Generator().manual_seed(0))[: len(part) // size * size]
    for inputs, _ in part.to(device).minibatches(size, order, device=device):
        yield inputs
