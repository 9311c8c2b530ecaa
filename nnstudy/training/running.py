"""Scores of the minibatches of a training, collected on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nnstudy.diagnostics import LossWiggle
from nnstudy.training.evaluation import count_correct, counts_answers

# Outputs are counted together, so that a step pays for a list's append and not for three
# small tensor operations; the bounds keep the memory small and a divergence from going unseen.
_MOST_STEPS = 100
_MOST_ELEMENTS = 1_000_000


class RunningScores:
    """Mean loss and accuracy over minibatches, weighted by their sizes.

    Attributes:
        wiggle: How much the loss jumps from minibatch to minibatch.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.loss = 0.0
        self.wiggle = LossWiggle()
        self._correct = 0
        self._examples = 0
        self._counted = True
        self._losses: list[Tensor] = []
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._elements = 0

    def add(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> bool:
        """Adds a minibatch.

        Returns:
            True if the sums were brought up to date, so that ``loss`` may be looked at.
        """
        self._losses.append(loss)
        self._pairs.append((outputs, targets))
        self._elements += outputs.numel()
        if len(self._losses) < _MOST_STEPS and self._elements < _MOST_ELEMENTS:
            return False
        self.collect()
        return True

    def means(self) -> dict[str, float]:
        """Returns the mean ``loss``, and ``accuracy`` where the targets are classes."""
        self.collect()
        values = {"loss": self.loss / max(1, self._examples)}
        if self._counted:
            values["accuracy"] = self._correct / max(1, self._examples)
        return values

    def state_dict(self) -> dict[str, Any]:
        """Returns the sums."""
        self.collect()
        return {
            "sum": self.loss,
            "correct": self._correct,
            "examples": self._examples,
            "counted": self._counted,
            "wiggle": self.wiggle.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from sums that ``state_dict`` gave."""
        self.reset()
        self.loss, self._correct = state["sum"], state["correct"]
        self._examples, self._counted = state["examples"], state["counted"]
        self.wiggle.load_state_dict(state.get("wiggle", {}))  # older states have none

    def collect(self) -> None:
        """Brings the sums up to date."""
        if not self._losses:
            return
        # One after another, so that the sum does not depend on when it was looked at.
        losses = torch.stack(self._losses).tolist()
        self.wiggle.add(losses)
        for loss, (_, targets) in zip(losses, self._pairs, strict=True):
            self.loss += loss * len(targets)
            self._examples += len(targets)
        self._counted &= all(counts_answers(*pair) for pair in self._pairs)
        if self._counted:
            outputs = torch.cat([outputs for outputs, _ in self._pairs])
            targets = torch.cat([targets for _, targets in self._pairs])
            self._correct += int(count_correct(outputs, targets))
        self._losses, self._pairs, self._elements = [], [], 0
