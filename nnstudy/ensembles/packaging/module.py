"""An ensemble as one module: from inputs as they came to what it answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnstudy.data import Normalisation
from nnstudy.ensembles.combination import LEAST, Combine
from nnstudy.training.losses import Link

PROBABILITIES, ENTROPY = "probabilities", "entropy"
MEAN, STD = "mean", "std"
DISAGREEMENT = "disagreement"


class EnsembleModule(nn.Module):
    """Answers as the ensemble does, in evaluation mode.

    Args:
        normalise: From inputs as they came to those of the networks.
        members: Gives the scores of M networks, ``(M, N, K)``; see ``InTurn``.
        combine: From these to one answer.
    """

    def __init__(self, normalise: Normalise, members: nn.Module, combine: nn.Module) -> None:
        super().__init__()
        self.normalise = normalise
        self.members = members
        self.combine = combine
        self.requires_grad_(False)
        self.eval()

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Returns what the ensemble answers to N inputs as the data's source gives them.

        Returns:
            In float64, of classes ``probabilities`` ``(N, C)``, and ``entropy`` and
            ``disagreement`` ``(N,)``; of numbers ``mean``, ``std`` and ``disagreement``
            ``(N, K)``. See ``ClassCombination`` and ``NumberCombination``.
        """
        answers: dict[str, Tensor] = self.combine(self.members(self.normalise(inputs)))
        return answers


class Normalise(nn.Module):
    """What the data's parts do to inputs before a network sees them.

    Args:
        normalisation: What was fitted to the training part; None: inputs are only converted.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(self, normalisation: Normalisation | None) -> None:
        super().__init__()
        self.full_scale = normalisation.full_scale if normalisation else 1.0
        self.register_buffer("mean", normalisation.mean if normalisation else None)
        self.register_buffer("std", normalisation.std if normalisation else None)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns float32; integers other than bytes are indices and stay."""
        if inputs.dtype != torch.uint8 and not inputs.is_floating_point():
            return inputs
        if self.mean is None or self.std is None:
            return inputs.float()
        # Bytes in float32, numbers in the precision that they came in, as parts do it.
        scaled = inputs.float() / self.full_scale if inputs.dtype == torch.uint8 else inputs
        return ((scaled - self.mean.to(scaled.dtype)) / self.std.to(scaled.dtype)).float()


class InTurn(nn.Module):
    """The scores of several networks, one after the other.

    Args:
        networks: The networks.
        classes: Whether they answer with classes.
    """

    def __init__(self, networks: Sequence[nn.Module], *, classes: bool) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.classes = classes

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the scores ``(M, N, K)`` for normalised inputs."""
        return torch.stack([as_scores(one(inputs), self.classes) for one in self.networks])


def as_scores(outputs: Tensor, classes: bool) -> Tensor:
    """Returns a network's outputs as ``(N, K)``; the one score of two classes becomes two."""
    scores = outputs.unsqueeze(1) if outputs.ndim == 1 else outputs
    if classes and scores.shape[1] == 1:
        scores = torch.cat([torch.zeros_like(scores), scores], 1)
    return scores


class ClassCombination(nn.Module):
    """One answer of several members' scores of classes, as ``Fitted.predict`` makes it.

    Args:
        weights: ``(M,)``, how much each member counts; votes: how often.
        links: What makes probabilities of each member's scores.
        how: The way.
        temperature: Of the combined answer.
    """

    shares: Tensor
    sigmoid: Tensor

    def __init__(
        self, weights: Tensor, links: Sequence[Link], how: Combine, temperature: float
    ) -> None:
        super().__init__()
        self.how = how
        self.temperature = temperature
        self.count = float(weights.sum())
        self.register_buffer("shares", weights.double() / self.count)
        self.register_buffer("sigmoid", torch.tensor([link == "sigmoid" for link in links]))

    def forward(self, scores: Tensor) -> dict[str, Tensor]:
        """Returns probabilities, their entropy, and how far the members disagree, in nats.

        Disagreement is the mutual information of answer and member; see ``uncertainty``.
        """
        scores = scores.double()
        linked = torch.where(self.sigmoid[:, None, None], F.logsigmoid(scores), scores)
        members = linked.softmax(-1)
        mean = self._over_members(members)
        combined = self._combined(scores, members, mean)
        if self.temperature != 1:
            combined = (combined.clamp(min=LEAST).log() / self.temperature).softmax(-1)
        return {
            PROBABILITIES: combined,
            ENTROPY: _entropy(combined),
            DISAGREEMENT: (_entropy(mean) - self._over_members(_entropy(members))).clamp(min=0),
        }

    def _combined(self, scores: Tensor, members: Tensor, mean: Tensor) -> Tensor:
        if self.how == "logits":
            return self._over_members(scores).softmax(-1)
        if self.how == "geometric":
            return self._over_members(members.clamp(min=LEAST).log()).softmax(-1)
        if self.how == "vote":
            chosen = F.one_hot(members.argmax(-1), members.shape[-1]).double()
            return (self.count * self._over_members(chosen) + mean) / (self.count + 1)
        return mean

    def _over_members(self, values: Tensor) -> Tensor:
        return _mean(values, self.shares)


class NumberCombination(nn.Module):
    """Mean and standard deviation of several members' numbers, in the targets' own units.

    Args:
        weights: ``(M,)``, how much each member counts.
        noise: Variance that is no member's, in the units that the networks were trained in.
        targets: What was done to the targets; None: nothing.
    """

    shares: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, weights: Tensor, noise: float, targets: Normalisation | None) -> None:
        super().__init__()
        self.noise = noise
        self.register_buffer("shares", weights.double() / weights.sum())
        one = torch.ones(1, dtype=torch.float64)
        self.register_buffer("scale", targets.std if targets else one)
        self.register_buffer("shift", targets.mean if targets else 0 * one)

    def forward(self, scores: Tensor) -> dict[str, Tensor]:
        """Returns the mean, its standard deviation, and that between the members alone."""
        scores = scores.double()
        mean = _mean(scores, self.shares)
        between = _mean((scores - mean).square(), self.shares)
        return {
            MEAN: mean * self.scale + self.shift,
            STD: (between + self.noise).sqrt() * self.scale,
            DISAGREEMENT: between.sqrt() * self.scale,
        }


def _mean(values: Tensor, shares: Tensor) -> Tensor:
    """Returns the weighted mean over members, the first dimension."""
    mean: Tensor = torch.tensordot(shares, values, 1)
    return mean


def _entropy(probabilities: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(probabilities).sum(-1)
    return entropy
