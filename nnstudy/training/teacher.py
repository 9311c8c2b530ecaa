"""Learning from a teacher's answers beside the truth.

Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", section 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from nnstudy.data import Part
from nnstudy.errors import UserError
from nnstudy.training.losses import Link, class_logits, mean_squared_error

if TYPE_CHECKING:
    from nnstudy.training.recipe import Loss

_LEAST = torch.finfo(torch.float64).eps  # as ensembles count probabilities


@dataclass(frozen=True)
class Teacher:
    """Answers to the training examples that a network learns beside their targets.

    Attributes:
        answers: To each training example, in the order of ``Data.train``, as it is without
            augmentation: probabilities of classes ``(N, C)``, or numbers ``(N, K)`` in the units
            that networks are trained in.
        mix: Share of the teacher in the loss, 0 to 1; at 0 it has no say.
        temperature: What the logarithms of both answers are divided by before they are compared;
            above 1 it makes more of the classes that the teacher takes for wrong. Numbers have
            none.
        link: What makes probabilities of the scores that the network learns; None for numbers.
    """

    answers: Tensor = field(repr=False)
    mix: float = 0.5
    temperature: float = 1.0
    link: Link | None = "softmax"

    def __post_init__(self) -> None:
        """Raises UserError where a value cannot be meant."""
        if self.answers.ndim != 2 or not self.answers.isfinite().all():
            raise UserError(
                "Teacher(answers=...) must be finite numbers, a row for each training example, got"
                f" shape {tuple(self.answers.shape)}"
            )
        if not 0 <= self.mix <= 1:
            raise UserError(f"Teacher(mix=...) must lie between 0 and 1, got {self.mix}")
        if not self.temperature > 0:
            raise UserError(f"Teacher(temperature=...) must be above 0, got {self.temperature}")

    def taught(self, part: Part) -> Part:
        """Returns a training part whose targets have the teacher's answers beside them.

        They go wherever an example goes: through orders, minibatches and to devices. Class indices
        are float32 there, which is exact up to 16 million.

        Raises:
            UserError: If there is not one answer for each example, or of another kind than the
                targets are.
        """
        if len(self.answers) != len(part):
            raise UserError(
                f"the teacher answers {len(self.answers)} examples, and there are {len(part)} to"
                " train on"
            )
        if (self.link is None) != part.targets.is_floating_point():
            raise UserError("Teacher(link=...) must be None for numbers, and for numbers alone")
        answers = self.answers.to(part.targets.device).float()
        if self.link is not None:
            answers = answers.clamp(min=_LEAST).log()
        targets = part.targets.reshape(len(part), -1).float()
        return part.with_targets(torch.cat([targets, answers], dim=1))

    def truth(self, targets: Tensor) -> Tensor:
        """Returns the targets of a minibatch of a taught part, as they were."""
        truth = targets[:, : -self.answers.shape[1]]
        return truth if self.link is None else truth[:, 0].long()

    def loss(self, loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns what is made small: ``mix * soft + (1 - mix) * hard``.

        The soft loss of classes is ``T^2 KL(teacher_T || network_T)``, a mean over the examples,
        with probabilities that are a softmax of logarithms divided by T. Gradients of the
        divergence shrink as 1/T^2, so the factor lets the mix mean the same at each temperature. Of
        numbers it is the squared distance to the teacher's.

        Args:
            loss: The hard one, against the truth.
            outputs: Of the network.
            targets: Of a minibatch of a taught part.
        """
        if self.mix == 0:
            return loss(outputs, self.truth(targets))
        soft = self._soft(outputs, targets[:, -self.answers.shape[1] :])
        if self.mix == 1:
            return soft
        return self.mix * soft + (1 - self.mix) * loss(outputs, self.truth(targets))

    def _soft(self, outputs: Tensor, answers: Tensor) -> Tensor:
        if self.link is None:
            return mean_squared_error(outputs, answers)
        wanted = F.log_softmax(answers / self.temperature, dim=1)
        given = F.log_softmax(class_logits(outputs, self.link) / self.temperature, dim=1)
        divergence = F.kl_div(given, wanted, reduction="batchmean", log_target=True)
        return self.temperature**2 * divergence
