"""What candidates answer to a part of the data, computed once and kept by their checkpoint."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import torch
from torch import Tensor, nn

from nnstudy.data import Data, Part
from nnstudy.ensembles.candidates import Candidate
from nnstudy.errors import UserError
from nnstudy.search.rebuilding import Trained, find_weights, rebuild_with
from nnstudy.search.settings import Settings
from nnstudy.study import Study
from nnstudy.study.sources import hash_of_files
from nnstudy.training.checkpoints import CheckpointError, read, read_metadata, write
from nnstudy.training.devices import resolve_device
from nnstudy.training.evaluation import evaluation_batch_size
from nnstudy.training.losses import Link, link_of


@dataclass(frozen=True)
class Outputs:
    """What one network answers to N examples.

    Attributes:
        scores: ``(N, K)`` float32.
        link: What makes probabilities of scores of classes.
        hash: BLAKE2b of the checkpoint's file.
    """

    scores: Tensor
    link: Link
    hash: str


@dataclass(frozen=True)
class Predictor:
    """Computes the answers of candidates, or reads those that are kept.

    Attributes:
        study: The study, from its file.
        code: Hash of its sources: other code may build another network for the same weights.
            Empty where it is not known, as of a study from a notebook: then nothing is kept.
        data: The study's data.
        settings: Device, and where checkpoints are that have been moved.
        fetch: Fetches a checkpoint that is kept in MLflow and returns its file.
        directory: Where answers are kept, and averages of weights.
    """

    study: Study
    code: str
    data: Data
    settings: Settings
    fetch: Callable[[str], Path]
    directory: Path

    def on_selection(self, candidate: Candidate) -> Outputs:
        """Returns a candidate's answers to the selection part.

        Raises:
            UserError: If its weights are missing, damaged or of other data, or its network
                cannot be rebuilt, or is another one since the code has changed.
        """
        return self._answers(candidate, self.data.selection, "predictions")

    def on_training(self, candidate: Candidate, share: float) -> Outputs:
        """Returns a candidate's answers to a share of the training part; see ``on_selection``."""
        part = self.data.with_share(share).train
        return self._answers(candidate, part, f"predictions/train-{share:g}")

    def _answers(self, candidate: Candidate, part: Part, kind: str) -> Outputs:
        path = self.weights(candidate)
        digest = hash_of_file(path)
        kept = self.home(kind, path).with_suffix(".safetensors")
        if self.code and (found := _read(kept, digest)) is not None:
            return found
        trained = self._rebuild(candidate, path)
        self.refuse_another(candidate, trained)
        scores = predict(trained.network, part, self.data, self.settings.device)
        outputs = Outputs(scores, link_of(trained.loss(self.data)), digest)
        if self.code:
            # Where it cannot be kept it is computed again next time.
            with contextlib.suppress(CheckpointError):
                write(kept, {"scores": scores}, {"link": outputs.link})
        return outputs

    def rebuild(self, candidate: Candidate) -> Trained:
        """Returns a candidate's network; see ``on_selection`` for what may be raised."""
        return self._rebuild(candidate, self.weights(candidate))

    def score(self, candidate: Candidate, trained: Trained) -> float:
        """Returns what a network reaches on the validation part, by its stage's metric.

        Returns:
            The score; NaN where only a training loop of the user's own knows how it is measured.
        """
        name, _, part = candidate.plan.metric.partition("/")
        if not part.startswith("valid"):
            return math.nan
        found = trained.measure(self.data.validation, self.data, self.settings.device)
        return found.get(name, math.nan)

    def refuse_another(self, candidate: Candidate, trained: Trained) -> None:
        """Raises UserError where code that has changed builds another network for the weights.

        Whether it does is told by the score on the validation part, which is known from the
        search; one example may fall the other way by rounding.
        """
        known = candidate.checkpoint.score
        if known is None or hash_of_files(candidate.plan.sources) == self.code:
            return
        found, example = self.score(candidate, trained), 1 / len(self.data.validation)
        if not math.isnan(found) and not math.isclose(found, known, rel_tol=0.01, abs_tol=example):
            raise UserError(
                "the code has changed since it was trained, and builds another network for its"
                f" weights: {candidate.plan.metric} is {found:.4g}, not {known:.4g} as in the"
                " search. Put the code back, or run the one that MLflow keeps (--kept-code)"
            )

    def home(self, kind: str, *weights: Path) -> Path:
        """Returns where something is kept that is made of weights, the data and the code."""
        made_of = " ".join([*map(hash_of_file, weights), self.data.digest, self.code])
        key = hashlib.blake2b(made_of.encode(), digest_size=16).hexdigest()
        return self.directory / kind / key

    def weights(self, candidate: Candidate) -> Path:
        """Returns the file of a candidate's weights, whose data are those of the study.

        Raises:
            OtherData: If they were trained on other data, or other parts of them.
            UserError: If they are missing or damaged.
        """
        path = find_weights(
            candidate.place, candidate.trial.number, candidate.plan, self.settings, self.fetch
        )
        trained_on = read_metadata(path).get("data", self.data.digest)
        if trained_on != self.data.digest:
            raise OtherData(
                f"the weights {path} were trained on other data, or other parts of them (digest"
                f" {trained_on}, not {self.data.digest})"
            )
        return path

    def _rebuild(self, candidate: Candidate, path: Path) -> Trained:
        device = self.settings.device
        return rebuild_with(path, self.study, candidate.plan, self.data, candidate.trial, device)


class OtherData(UserError):
    """Weights that were trained on other data than the study's."""


def predict(network: nn.Module, part: Part, data: Data, device: str) -> Tensor:
    """Returns what a network gives for each example of a part, ``(N, K)`` on the CPU.

    Args:
        network: On the device; it is put into evaluation mode.
        part: The examples.
        data: Whose outputs the network gives.
        device: Where to compute.

    Raises:
        UserError: If that is no score of each class or number, or not finite.
    """
    network.eval()
    resolved = resolve_device(device)
    size = evaluation_batch_size(network, resolved)
    with torch.inference_mode():
        given = [
            network(inputs) for inputs, _ in part.to(resolved).minibatches(size, device=resolved)
        ]
        scores = torch.cat(given).float().cpu()
    scores = scores.unsqueeze(1) if scores.ndim == 1 else scores
    wanted = {data.outputs} | ({1} if data.classes == 2 else set())
    if scores.ndim != 2 or scores.shape[1] not in wanted:
        raise UserError(
            f"the network gives {tuple(scores.shape[1:])} numbers for an example, not"
            f" {data.outputs}"
        )
    if not scores.isfinite().all():
        raise UserError("the network gives infinite numbers or NaN")
    return scores.clone()  # of a tensor of inference mode, an ordinary one


def _read(path: Path, digest: str) -> Outputs | None:
    """Returns kept answers; None where there are none that can be read."""
    try:
        state, metadata = read(path)
    except CheckpointError:
        return None
    scores, link = state.get("scores"), metadata.get("link")
    if not isinstance(scores, Tensor) or link not in get_args(Link):
        return None
    return Outputs(scores, cast("Link", link), digest)


def hash_of_file(path: Path) -> str:
    """Returns the BLAKE2b hash of a file, 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
