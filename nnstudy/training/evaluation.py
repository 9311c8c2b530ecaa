"""Measuring a network on one part of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from nnstudy.data import Part
from nnstudy.training.recipe import Loss, Metric

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def count_correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """Counts right answers.

    Args:
        outputs: ``(N, C)`` scores of classes; ``(N, 1)`` or ``(N,)`` is the score of class 1
            of two, right when its sign is.
        targets: ``(N,)`` class indices.

    Returns:
        The number of right answers, a tensor without dimensions.
    """
    if outputs.ndim == 1 or outputs.shape[-1] == 1:
        return ((outputs.reshape(-1) > 0) == targets).sum()
    return (outputs.argmax(1) == targets).sum()


def counts_answers(outputs: Tensor, targets: Tensor) -> bool:
    """Tells whether an accuracy means something for these outputs and targets."""
    return targets.ndim == 1 and not targets.is_floating_point() and outputs.ndim <= 2


def evaluation_batch_size(network: nn.Module, device: torch.device) -> int:
    """Returns a minibatch size that evaluates a network quickly.

    On a CPU large minibatches make a perceptron faster and a convolutional network slower,
    since its activations fall out of the cache.
    """
    convolutional = any(isinstance(module, _CONVOLUTIONS) for module in network.modules())
    return 64 if device.type == "cpu" and convolutional else 1000


@torch.no_grad()
def evaluate(
    network: nn.Module,
    part: Part,
    loss: Loss,
    *,
    metrics: Mapping[str, Metric] | None = None,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    after_minibatch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Measures a network on a part of the data.

    The network is put into evaluation mode and left in it.

    Args:
        network: On ``device``.
        part: The examples.
        loss: Mean loss of a minibatch.
        metrics: More scores, each of the outputs and targets of the whole part.
        device: Where to compute.
        batch_size: Examples at once; default: what is quick for the network.
        after_minibatch: Called after each minibatch.

    Returns:
        ``loss``, ``accuracy`` where the targets are classes, and the metrics, by name.
    """
    network.eval()
    device = torch.device(device)
    total = torch.zeros((), dtype=torch.float64, device=device)
    correct: Tensor | None = None
    kept: list[tuple[Tensor, Tensor]] = []
    size = batch_size or evaluation_batch_size(network, device)
    # Inference mode saves the bookkeeping of views; some modules (spectral norm, lazily made
    # buffers) would keep inference tensors that cannot be trained on, so weights are made
    # outside of it and only activations inside.
    with torch.inference_mode():
        for inputs, targets in part.minibatches(size, device=device):
            outputs = network(inputs)
            total += loss(outputs, targets) * len(targets)
            if counts_answers(outputs, targets):
                right = count_correct(outputs, targets)
                correct = right if correct is None else correct + right
            if metrics:
                kept.append((outputs, targets))
            after_minibatch()
    values = {"loss": float(total) / len(part)}
    if correct is not None:
        values["accuracy"] = int(correct) / len(part)
    if metrics:
        outputs = torch.cat([pair[0] for pair in kept])
        targets = torch.cat([pair[1] for pair in kept])
        values |= {name: float(metric(outputs, targets)) for name, metric in metrics.items()}
    return values
