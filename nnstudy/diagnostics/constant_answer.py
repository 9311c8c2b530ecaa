"""What can be had without looking at the inputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

# Fewer examples for each number of an answer, and the answer would learn them by heart.
EXAMPLES_PER_NUMBER = 10
STEPS, PATIENCE = 200, 15


def constant_answer_loss(
    loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor
) -> float | None:
    """Returns the least loss of an answer that is the same for every input.

    A network whose loss is no lower has learnt what is frequent, and nothing of the inputs.
    For cross-entropy it is the entropy of the classes (ln 10 for ten equally frequent ones),
    for ten sigmoid outputs and binary cross-entropy ten times that of a share of a tenth
    (3.25, where an untrained network has 6.9 or more), for squared errors the targets'
    variance. Any loss will do, since the answer is found by minimising it, with Rprop
    (Riedmiller and Braun 1993), for which its scale does not matter.

    Args:
        loss: Takes ``(outputs, targets)`` and returns the mean over the examples.
        outputs: Those of a network ``(N, ...)``: the answer has the shape of one, and the
            search begins at their mean.
        targets: Their targets.

    Returns:
        None where there are fewer than ten examples for each number of the answer.
    """
    if len(outputs) < EXAMPLES_PER_NUMBER * outputs[0].numel():
        return None
    answer = outputs.detach().mean(0).requires_grad_()
    optimizer = torch.optim.Rprop([answer], lr=0.01, step_sizes=(1e-7, 1e7))
    least, better_at = math.inf, 0
    for step in range(STEPS):
        value = loss(answer.expand_as(outputs), targets)
        # Not backward(), which would leave gradients in a loss that has parameters.
        (answer.grad,) = torch.autograd.grad(value, [answer])
        found = float(value.detach())
        # Where nothing is gained Rprop goes ever further, until numbers lose their digits.
        better_at = step if not found > least - 1e-6 * abs(least) else better_at
        least = min(least, found)
        if step > better_at + PATIENCE:
            break
        optimizer.step()
    return least
