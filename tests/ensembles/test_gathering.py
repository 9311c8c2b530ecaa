"""Which weights become candidates, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial, create_trial

from nnstudy.ensembles.averages import Average, average_weights, last_epochs
from nnstudy.ensembles.candidates import Candidate, Source
from nnstudy.ensembles.gathering import averages, count_of, epochs, gather
from nnstudy.ensembles.pool import among
from nnstudy.errors import UserError
from nnstudy.training.checkpoints import CheckpointName
from nnstudy.training.checkpoints.names import Kind

from .test_candidates import PLAN


def candidate(kind: Kind, epoch: float, *, trial: int = 0, repeat: int | None = None) -> Candidate:
    name = CheckpointName(kind, epoch, 0.5, repeat)
    at = numbered(trial)
    return Candidate(PLAN, at, 0.5, f"trial-{trial}/{name}")


def numbered(number: int) -> FrozenTrial:
    trial = create_trial(value=0.5)
    trial.number = number
    return trial


def spaced(*numbers: float, **fields: int) -> list[Candidate]:
    return [candidate("spaced", epoch, **fields) for epoch in numbers]


def told(found: list[Candidate]) -> list[tuple[str, float | None]]:
    return [(one.checkpoint.kind, one.checkpoint.epoch) for one in found]


def test_of_kept_epochs_the_best_comes_first_then_low_points_then_later_ones() -> None:
    kept = [candidate("best", 3), candidate("average", 4), *spaced(1, 2, 3, 4)]
    kept += [candidate("cycle", 2), candidate("cycle", 4)]
    assert told(epochs(kept)) == [("best", 3), ("cycle", 4), ("cycle", 2), ("spaced", 1)]


@pytest.mark.parametrize(
    ("kept", "averaged"),
    [
        ([], None),
        ([7], None),
        ([1, 2], [1, 2]),
        ([5, 10], [5, 10]),
        ([1, 2, 3, 4], [3, 4]),
        ([*range(1, 41)], [*range(31, 41)]),
        ([0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4], [3.5, 4]),
    ],
)
def test_a_uniform_average_is_over_the_last_quarter(
    kept: list[float], averaged: list[float] | None
) -> None:
    found = last_epochs(spaced(*reversed(kept)))
    assert (found and [one.checkpoint.epoch for one in found.epochs]) == averaged


def test_averages_are_those_of_each_training_by_itself() -> None:
    first, second = candidate("best", 1), candidate("best", 1, trial=1)
    kept = {
        first.place: [first, candidate("average", 2), *spaced(1, 2, repeat=1)],
        second.place: [second, *spaced(1, 2, repeat=1, trial=1), *spaced(3, 4, repeat=2, trial=1)],
    }
    found = averages([first, second], 10, lambda one: kept[one.place])
    assert [str(one) for one in found] == [
        "coarse/0 averaged at epoch 2",
        "coarse/0 averaged over epochs 1, 2",
        "coarse/1 averaged over epochs 1, 2",
        "coarse/1 averaged over epochs 3, 4",
    ]
    assert averages([first, second], 1, lambda one: kept[one.place]) == found[:1]


def test_a_study_that_kept_nothing_to_average_is_told_what_to_launch() -> None:
    best = candidate("best", 1)
    with pytest.raises(UserError, match=r"nnstudy launch toy --keep-every 1 --name toy-kept"):
        gather(["average"], [], [best], 10, lambda one: [one, *spaced(1)])


def test_weights_of_one_training_are_averaged_and_those_of_two_are_refused() -> None:
    weights = {1.0: torch.zeros(2), 2.0: torch.ones(2)}

    def read(one: Candidate) -> dict[str, torch.Tensor]:
        return {"weight": weights[one.checkpoint.epoch or 0]}

    assert average_weights(spaced(1, 2), read)["weight"].tolist() == [0.5, 0.5]
    for other in (
        spaced(2, trial=1),
        spaced(2, repeat=2),
        [replace(spaced(2)[0], plan=replace(PLAN, stage="fine"))],
    ):
        with pytest.raises(UserError, match=r"trained apart: each training puts its hidden units"):
            average_weights([*spaced(1), *other], read)


def test_a_configuration_that_was_run_again_counts_once_unless_chosen_greedily() -> None:
    def run(stage: str, units: int, source: Source = "top-trials") -> Candidate:
        trial = create_trial(
            value=0.5,
            params={"units": units},
            distributions={"units": IntDistribution(1, 64)},
        )
        plan = replace(PLAN, stage=stage)
        return Candidate(plan, trial, 0.5, f"{stage}/{units}/{source}", (source,))

    candidates = [
        replace(run("search", 8), sources=()),  # there to be compared with
        run("fine", 8),
        run("coarse", 8),
        run("coarse", 16),
        run("fine", 16),
        run("confirm", 8, "seeds"),
    ]
    both: list[Source] = ["top-trials", "seeds"]
    assert among(candidates, both, "greedy") == (1, 2, 3, 4, 5)
    assert among(candidates, both, "all") == among(candidates, both, "best-k") == (1, 3, 5)
    assert among(candidates, ["seeds"], "all") == (5,)
    assert count_of({"top-trials": candidates[1:5], "seeds": candidates[5:]}, "all") == 3
    assert count_of({"top-trials": candidates[1:5], "seeds": candidates[5:]}, "greedy") == 5


def test_an_average_is_called_by_its_epochs() -> None:
    found = Average(tuple(spaced(3, 4)))
    assert found.averaged("place", 0.7).describe() | {"run_id": None} == {
        "stage": "coarse",
        "trial": 0,
        "kind": "best",
        "epoch": None,
        "averaged": [3, 4],
        "from": [],
        "value": 0.7,
        "params": {},
        "run_id": None,
        "checkpoint": "place",
    }
