"""Measuring a network on a part."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nnstudy import datasets, models
from nnstudy.data import Data, load
from nnstudy.training.evaluation import count_correct, evaluate
from nnstudy.training.running import RunningScores


@pytest.fixture(scope="module")
def digits() -> Data:
    return load(datasets.digits)


@pytest.mark.parametrize("batch_size", [7, 64, 10_000])
def test_scores_do_not_depend_on_the_minibatches(digits: Data, batch_size: int) -> None:
    torch.manual_seed(0)
    network = models.convnet(digits.shape, digits.outputs, channels=(4, 8), units=16)
    inputs, targets = next(digits.validation.minibatches(len(digits.validation)))
    network.eval()
    with torch.no_grad():
        outputs = network(inputs)

    values = evaluate(
        network,
        digits.validation,
        F.cross_entropy,
        metrics={"top3": lambda o, t: (o.topk(3).indices == t[:, None]).any(1).float().mean()},
        batch_size=batch_size,
    )

    assert values["loss"] == pytest.approx(float(F.cross_entropy(outputs, targets)), rel=1e-5)
    assert values["accuracy"] == pytest.approx(float((outputs.argmax(1) == targets).float().mean()))
    assert values["top3"] >= values["accuracy"]


def test_batch_norm_and_dropout_are_switched_to_evaluation(digits: Data) -> None:
    network = models.mlp(digits.shape, [8], digits.outputs, dropout=0.5, batch_norm=True)
    network.train()
    first = evaluate(network, digits.validation, F.cross_entropy)

    assert evaluate(network, digits.validation, F.cross_entropy) == first


def test_one_output_counts_by_its_sign() -> None:
    outputs, targets = torch.tensor([[-1.0], [2.0], [0.5]]), torch.tensor([0, 1, 0])

    assert int(count_correct(outputs, targets)) == 2


@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=8),
    looks=st.sets(st.integers(0, 7)),
    seed=st.integers(0, 100),
)
def test_running_scores_do_not_depend_on_when_they_are_looked_at(
    sizes: list[int], looks: set[int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    quiet, looked_at = RunningScores(), RunningScores()
    correct = total = 0
    for i, size in enumerate(sizes):
        outputs = torch.randn(size, 3, generator=generator)
        targets = torch.randint(3, (size,), generator=generator)
        loss = F.cross_entropy(outputs, targets)
        for running in (quiet, looked_at):
            running.add(outputs, targets, loss)
        if i in looks:
            looked_at.state_dict()
        correct += int((outputs.argmax(1) == targets).sum())
        total += size

    assert looked_at.means() == quiet.means()
    assert quiet.means()["accuracy"] == correct / total


def test_numbers_as_targets_have_no_accuracy() -> None:
    running = RunningScores()
    running.add(torch.zeros(4, 1), torch.zeros(4, 1), torch.tensor(1.0))

    assert running.means() == {"loss": 1.0}


def test_an_evaluated_network_can_be_trained_on(digits: Data) -> None:
    network = nn.Sequential(
        nn.Flatten(), nn.utils.parametrizations.spectral_norm(nn.Linear(64, 10))
    )
    evaluate(network, digits.validation, F.cross_entropy)
    network.train()
    inputs, targets = next(digits.train.minibatches(8))

    F.cross_entropy(network(inputs), targets).backward()

    assert all(p.grad is not None for p in network.parameters())
