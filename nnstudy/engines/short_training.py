"""A training of seconds, whose best validation is judged on examples that it never saw."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from nnstudy.data import Data, Part
from nnstudy.diagnostics.chance import Comparison, compare_accuracy, compare_errors
from nnstudy.training import Callback, Diverged, Record, Training
from nnstudy.training.evaluation import (
    count_correct,
    counts_answers,
    evaluate,
    evaluation_batch_size,
)
from nnstudy.training.own_loop import OwnTraining

Ended = Literal["epochs", "time", "diverged"]
Hear = Callable[[Record], None]


@dataclass
class Course:
    """How a short training went.

    Attributes:
        records: Its validations.
        best: The best of them by accuracy, by loss where they are equal or there is none.
        judged: What its weights then answered to other examples; None where it cannot be said.
        ended: What it ended for.
        seconds: How long it took.
    """

    records: list[Record] = field(default_factory=list)
    best: Record | None = None
    judged: Comparison | None = None
    ended: Ended = "epochs"
    seconds: float = 0.0

    @property
    def rank(self) -> tuple[float, float]:
        """The larger, the better."""
        return rank(self.best) if self.best else (-math.inf, -math.inf)


def rank(record: Record) -> tuple[float, float]:
    """Returns what orders validations: accuracy, then loss."""
    accuracy = record.values.get("accuracy/valid", 0.0)
    loss = record.values.get("loss/valid", math.inf)
    return accuracy, -loss if math.isfinite(loss) else -math.inf


def train_shortly(
    training: Training | OwnTraining,
    data: Data,
    unseen: Part | None,
    *,
    seconds: float,
    hear: Hear,
) -> Course:
    """Trains until the epochs or the time are over.

    Args:
        training: Not begun.
        data: What it trains and validates on.
        unseen: Examples on which the weights of each best validation are judged, by which
            nothing is chosen; None: they are not.
        seconds: After so long it ends, after a minibatch where the loop is ours.
        hear: Hears each validation.
    """
    course = Course()
    started = time.monotonic()
    try:
        for record in _until(training, data, started + seconds):
            _take(course, record)
            if record is course.best and unseen is not None and isinstance(training, Training):
                course.judged = _judge(training, data, unseen)
            hear(record)
        over = time.monotonic() > started + seconds and training.ended is None
        course.ended = "time" if over else "epochs"
    except Diverged:
        course.ended = "diverged"
    course.seconds = time.monotonic() - started
    return course


def _take(course: Course, record: Record) -> None:
    course.records.append(record)
    if course.best is None or rank(record) > rank(course.best):
        course.best = record


class _TimeIsOver(Exception):
    pass


class _Clock(Callback):
    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def on_step_end(self, training: Training) -> None:
        if time.monotonic() > self._deadline:
            raise _TimeIsOver


def _until(training: Training | OwnTraining, data: Data, deadline: float) -> Iterator[Record]:
    if isinstance(training, Training):
        training.callbacks.append(_Clock(deadline))
    try:
        for record in training:
            yield record
            if time.monotonic() > deadline:
                return
    except _TimeIsOver:
        # Whoever is so slow is told of what there is.
        if isinstance(training, Training):
            yield _validate_now(training, data)


def _validate_now(training: Training, data: Data) -> Record:
    values = evaluate(training.network, data.validation, training.loss, device=training.device)
    if not math.isfinite(values["loss"]):
        raise Diverged(1, "validation")
    return Record(
        step=len(training.history) + 1,
        epoch=training.position / training.budget.steps.per_epoch,
        examples_seen=training.examples_seen,
        seconds=training.seconds,
        values={f"{name}/valid": value for name, value in values.items()},
    )


@torch.no_grad()
def _judge(training: Training, data: Data, unseen: Part) -> Comparison | None:
    """Compares what the network answers with chance; None where its outputs are no answers."""
    network, device = training.network, training.device
    network.eval()
    size = evaluation_batch_size(network, device)
    pairs = [(network(x), y) for x, y in unseen.to(device).minibatches(size, device=device)]
    outputs, targets = torch.cat([o for o, _ in pairs]), torch.cat([t for _, t in pairs])
    if data.task == "classification":
        if not counts_answers(outputs, targets):
            return None
        return compare_accuracy(int(count_correct(outputs, targets)), targets.cpu())
    if outputs.numel() != targets.numel() or len(targets) < 2:
        return None
    of_mean = _errors(data.train.targets.mean(0).to(targets), targets)
    if not any(of_mean):
        return None
    return compare_errors(_errors(outputs.reshape(targets.shape), targets), of_mean)


def _errors(answers: Tensor, targets: Tensor) -> list[float]:
    errors: list[float] = ((answers - targets).double() ** 2).sum(1).tolist()
    return errors
