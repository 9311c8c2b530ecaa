"""What an ensemble's answers cost, beside those of the best network alone: size and time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nnstudy.ensembles.answers import Index
from nnstudy.ensembles.cross_fitting import SINGLE, one_of
from nnstudy.ensembles.pool import Pool, stack
from nnstudy.ensembles.predictions import Predictor
from nnstudy.ensembles.procedure import Fitted, Prediction
from nnstudy.ensembles.selection import alone
from nnstudy.ensembles.timing import Times, time_in_turns
from nnstudy.training.devices import resolve_device
from nnstudy.training.evaluation import evaluation_batch_size
from nnstudy.training.losses import Link


@dataclass(frozen=True)
class Cost:
    """What the answers of one or several networks cost.

    Attributes:
        parameters: Of all networks.
        bytes: Of their weights, with buffers such as the means of batch norm.
        latency: Seconds until one example is answered.
        throughput: Examples a second in a large minibatch.
    """

    parameters: int
    bytes: int
    latency: float
    throughput: float


@dataclass(frozen=True)
class Costs:
    """What the answers of an ensemble cost, and those of the best network alone.

    Times are from inputs on the device to one answer in memory, of networks that run one after
    another: medians of five to a hundred rounds behind a warm-up. In every round both are timed,
    so ratios mean something on a busy machine too.

    Attributes:
        single: Of one network: of the candidate that has the least loss alone, or of a student.
        ensemble: Of the members, each once however often it counts.
        latency_ratio: How many times as long as the single one the ensemble takes for one
            example: the median of the rounds' ratios.
        batch_ratio: Likewise for a large minibatch.
        batch: Examples in that.
        device: Where they ran.
        threads: Of PyTorch on the CPU.
    """

    single: Cost
    ensemble: Cost
    latency_ratio: float
    batch_ratio: float
    batch: int
    device: str
    threads: int


def measure_costs(pool: Pool, fitted: Fitted, predictor: Predictor) -> Costs:
    """Measures what the answers of an ensemble cost, by examples of the selection part.

    Args:
        pool: The candidates.
        fitted: The ensemble.
        predictor: Rebuilds the networks.

    Raises:
        UserError: If the networks cannot be had any more.
    """
    best = np.array([alone(pool.answers, SINGLE.combination).argmin()])
    counts = one_of(len(pool.candidates), int(best[0]))
    plain = SINGLE.fit(pool.answers, counts, calibrate=False)
    single = Model.of(pool, plain, best, predictor)
    ensemble = Model.of(pool, fitted, np.flatnonzero(fitted.weights), predictor)
    return costs_of(single, ensemble, predictor)


def costs_of(single: Model, ensemble: Model, predictor: Predictor) -> Costs:
    """Measures what one network's answers cost, and those of an ensemble; see ``measure_costs``."""
    device = resolve_device(predictor.settings.device)
    batch = min(evaluation_batch_size(single.networks[0], device), len(predictor.data.selection))
    inputs, _ = next(predictor.data.selection.minibatches(batch, device=device))
    with torch.inference_mode():
        latency = _time_both(single, ensemble, inputs[:1])
        together = _time_both(single, ensemble, inputs)
    return Costs(
        single.cost(latency.one, batch / together.one),
        ensemble.cost(latency.other, batch / together.other),
        latency.ratio,
        together.ratio,
        batch,
        str(device),
        torch.get_num_threads(),
    )


@dataclass(frozen=True)
class Model:
    """Networks that answer together.

    Attributes:
        networks: In evaluation mode, on the device.
        links: What makes probabilities of each one's scores.
        fitted: How their answers are made one.
        classes: Whether they answer with classes.
    """

    networks: list[nn.Module]
    links: list[Link]
    fitted: Fitted
    classes: bool

    @classmethod
    def of(cls, pool: Pool, fitted: Fitted, members: Index, predictor: Predictor) -> Model:
        """Rebuilds the networks of members."""
        return cls(
            [predictor.rebuild(pool.candidates[index]).network.eval() for index in members],
            [pool.outputs[index].link for index in members],
            fitted.of(members),
            pool.answers.probabilities is not None,
        )

    def answer(self, inputs: Tensor) -> Prediction:
        """Returns what they answer to normalised inputs."""
        scores = [
            network(inputs).reshape(len(inputs), -1).double().cpu().numpy()
            for network in self.networks
        ]
        return self.fitted.predict(stack(scores, self.links, np.empty(0), classes=self.classes))

    def cost(self, latency: float, throughput: float) -> Cost:
        """Returns what that costs, with times that were measured."""
        parameters = [one for network in self.networks for one in network.parameters()]
        buffers = [one for network in self.networks for one in network.buffers()]
        return Cost(
            sum(one.numel() for one in parameters),
            sum(one.nbytes for one in parameters + buffers),
            latency,
            throughput,
        )


def _time_both(single: Model, ensemble: Model, inputs: Tensor) -> Times:
    # What comes of an answer is in memory, so a GPU has done all of it when the clock is read.
    return time_in_turns(lambda: single.answer(inputs), lambda: ensemble.answer(inputs))
