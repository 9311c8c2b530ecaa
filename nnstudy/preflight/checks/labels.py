"""Whether the labels belong to the inputs."""

from __future__ import annotations

import math
import time
from functools import partial

import torch
from torch import Tensor, nn

from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.checks.probing import as_tensor, backward, draw
from nnstudy.preflight.result import Check, Result
from nnstudy.training.recipe import Loss
from nnstudy.training.seeds import derived_generator

TRAINED = 1000
HELD_OUT = 500

SHUFFLES = 5
"""Trainings on shuffled labels, whose losses differ since examples of one kind stay together."""

STEPS = 150
ENOUGH = 10
BATCH_SIZE = 32

RATE = 3e-3
"""Of Adam, the check's own: three times its default, since so few steps must be enough."""

SECONDS = 0.5
"""Processor time for each training, where the network is large for its device."""

SIGMAS = 3.0
"""By so many standard errors the true labels must do better.

With five shuffles a difference without a reason gets so far in one of fifty cases (Student's t
with four degrees of freedom). Labels that belong to their inputs get to 20 and more on images, to
4 on noisy tables of a few hundred rows.
"""

_ADVICE = (
    "Inputs and labels may be out of step: one of the two shuffled, sorted or filtered without the"
    " other, file names matched wrongly, labels shifted by one. Look at the pictures of examples"
    " with their labels. If they do belong together, the signal is weak, or the held-out examples"
    " are too few to show it so early."
)
_result = partial(Result, "labels", "statistics")


def run(candidate: Candidate) -> list[Result]:
    """Trains for a short while with the labels as they are, and with shuffled ones.

    All trainings start from the same weights and see the same minibatches. A network learns
    shuffled labels too, by heart (Zhang et al. 2017, arXiv:1611.03530), but nothing of use for
    other examples: the root of the loss on validation examples is to be higher by ``SIGMAS`` standard errors.
    Their square is s^2 (1 + 1/k) for the spread s among the k shuffles, and that of the mean
    difference over the validation examples.
    """
    is_class = candidate.data.task == "classification"
    sample = partial(draw, device=candidate.device, classes=is_class)
    inputs, targets = sample(candidate.data.train, TRAINED)
    if torch.equal(targets, targets[:1].expand_as(targets)):
        return [_result("skipped", "the labels are all alike")]
    held_out = sample(candidate.data.validation, HELD_OUT)
    generator = derived_generator(0)
    orders = [torch.randperm(len(targets), generator=generator) for _ in range(SHUFFLES)]
    losses, steps = [], STEPS
    for labels in (targets, *(targets[order.to(targets.device)] for order in orders)):
        recipe = candidate.plain_recipe()
        loss = candidate.loss(recipe)
        steps = _train(recipe.network, loss, inputs, labels, steps)
        if steps < ENOUGH:
            what = f"{SECONDS:g} s were enough for {steps} steps only"
            return [_result("skipped", what, params=candidate.params)]
        losses.append(_losses(recipe.network, loss, *held_out))
    true, shuffled = losses[0], torch.stack(losses[1:])
    difference = shuffled.mean(0) - true
    among = shuffled.mean(1).var().item() * (1 + 1 / SHUFFLES)
    within = difference.var(correction=0).item() / max(1, len(difference) - 1)
    error = math.sqrt(among + within)
    sigmas = difference.mean().item() / max(error, 1e-12)
    figures = {
        "true": true.mean().item(),
        "shuffled": shuffled.mean().item(),
        "sigmas": sigmas,
        "steps": steps,
    }
    found = (
        f"after {steps} steps the root of the loss on {len(true)} validation examples is {figures['true']:.3g},"
        f" with shuffled labels {figures['shuffled']:.3g} ({sigmas:+.1f} standard errors)"
    )
    if not math.isfinite(sigmas):
        return [_result("skipped", f"{found}: it diverged", params=candidate.params)]
    if sigmas < SIGMAS:
        return [_result("warned", found, _ADVICE, figures, candidate.params)]
    # Without params: what holds at one point of the space need not be asked at another.
    return [_result("passed", found, figures=figures)]


def _train(network: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor, steps: int) -> int:
    """Trains so many steps, or as many as there is time for; returns how many."""
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=RATE)
    generator = derived_generator(1)
    network.train()
    ends = math.inf
    for step in range(steps):
        if time.thread_time() > ends:
            return step
        index = torch.randperm(len(labels), generator=generator)[:BATCH_SIZE].to(labels.device)
        optimizer.zero_grad()
        backward(loss(network(inputs[index]), labels[index]))
        optimizer.step()
        if step == 0:  # which also loads what PyTorch loads late
            ends = time.thread_time() + SECONDS
    return steps


@torch.no_grad()
def _losses(network: nn.Module, loss: Loss, inputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the root of each example's loss: squared errors lie too far apart for a mean."""
    outputs = torch.cat([as_tensor(network.eval()(some)) for some in torch.split(inputs, 100)])
    pairs = zip(torch.split(outputs, 1), torch.split(targets, 1), strict=True)
    return torch.stack([loss(*pair) for pair in pairs]).double().clamp(min=0).sqrt()


CHECK = Check("labels", "statistics", run)
