from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nnstudy.errors import UserError
from nnstudy.training.checkpoints import (
    CheckpointError,
    CheckpointName,
    Keeper,
    read,
    read_metadata,
    read_weights,
)
from nnstudy.training.checkpoints import keeper as keeper_module
from nnstudy.training.record import Record


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Training:
    """Weights that tell the epoch they are from, changed in place as real ones are."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.clock = Clock()
        self.weight, self.averaged = torch.zeros(3), torch.zeros(3)
        self.epoch = 0.0
        self.copies = 0
        options = {"direction": "maximize", "clock": self.clock, **options}
        self.keeper = Keeper(directory, **options)

    def weights(self) -> dict[str, Tensor]:
        self.copies += 1
        return {"weight": self.weight}

    def average(self) -> dict[str, Tensor]:
        return {"weight": self.averaged}

    def state(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "network": {"weight": self.weight}}

    def validate(
        self,
        epoch: float,
        score: float,
        *,
        seconds: float = 0.0,
        low_point: bool = False,
        **more: Any,
    ) -> None:
        self.clock.now += seconds
        self.epoch = epoch
        self.weight.fill_(epoch)
        self.averaged.fill_(epoch / 2)
        record = Record(step=int(epoch), epoch=epoch, values={"s": score}, low_point=low_point)
        average = self.average if more.pop("averaged", False) else None
        self.keeper.record(record, score, self.weights, average, self.state, **more)

    def files(self) -> list[str]:
        return [path.name for path in self.keeper.paths()]


def test_short_epochs_are_not_drowned_in_writes(tmp_path: Path) -> None:
    training = Training(tmp_path, interval=1.0)
    for epoch in range(1, 96):
        training.validate(epoch, epoch / 1000, seconds=0.01)
    assert training.files() == []
    assert training.keeper.best_path() is None
    for epoch in range(96, 106):
        training.validate(epoch, epoch / 1000, seconds=0.01)
    assert training.files() == ["best-epoch0100-0.10000.safetensors", "last.safetensors"]
    training.keeper.flush()
    assert training.files() == ["best-epoch0105-0.10500.safetensors", "last.safetensors"]
    assert training.keeper.last_path is not None
    assert read(training.keeper.last_path)[0]["epoch"] == 105


def test_best_weights_are_those_of_their_epoch_although_training_went_on(tmp_path: Path) -> None:
    training = Training(tmp_path)
    for epoch, score in enumerate([0.1, 0.9, 0.5, 0.9]):
        training.validate(epoch, score)
    assert training.copies == 2, "weights were copied that are not kept"
    training.keeper.flush()
    best = training.keeper.best_path()
    assert best is not None
    assert best.name == "best-epoch0001-0.90000.safetensors"
    assert torch.equal(read_weights(best)["weight"], torch.full((3,), 1.0))


def test_every_file_carries_its_record_and_the_metadata(tmp_path: Path) -> None:
    training = Training(tmp_path, metadata={"study": "digits"})
    training.validate(3, 1 / 3)
    training.keeper.flush()
    assert training.keeper.best_path() is not None
    metadata = read_metadata(training.keeper.best_path())
    assert metadata["study"] == "digits"
    assert float(metadata["score"]) == 1 / 3
    assert Record.from_dict(json.loads(metadata["record"])).values == {"s": 1 / 3}
    assert training.keeper.last_path is not None
    assert read_metadata(training.keeper.last_path)["study"] == "digits"


scores = st.lists(
    st.one_of(st.integers(-5, 5).map(float), st.just(float("nan"))), min_size=1, max_size=25
)


@settings(max_examples=60, deadline=None)
@given(
    scores=scores,
    best=st.integers(1, 4),
    pauses=st.lists(st.sampled_from([0.0, 0.4, 1.0]), min_size=25, max_size=25),
    direction=st.sampled_from(["maximize", "minimize"]),
    killed=st.integers(0, 25),
)
def test_after_a_flush_the_best_are_kept_whoever_was_killed_before(
    tmp_path_factory: pytest.TempPathFactory,
    scores: list[float],
    best: int,
    pauses: list[float],
    direction: str,
    killed: int,
) -> None:
    directory = tmp_path_factory.mktemp("trial")
    options = {"best": best, "direction": direction}
    training = Training(directory, **options)
    for epoch, score in enumerate(scores[:killed]):
        training.validate(epoch, score, seconds=pauses[epoch])
    # Killed here: what was pending is lost. The next one goes on from the last state.
    last = training.keeper.last_path
    start = int(read(last)[0]["epoch"]) + 1 if last else 0
    training = Training(directory, **options)
    for epoch, score in enumerate(scores[start:], start):
        training.validate(epoch, score, seconds=pauses[epoch])
    training.keeper.flush()

    sign = -1 if direction == "maximize" else 1
    ranked = sorted(
        (epoch for epoch, score in enumerate(scores) if score == score),
        key=lambda epoch: (sign * scores[epoch], epoch),
    )
    expected = {str(CheckpointName("best", epoch, scores[epoch])) for epoch in ranked[:best]}
    found = {name for name in training.files() if name.startswith("best")}
    assert found == expected
    for path in training.keeper.paths():
        name = CheckpointName.parse(path.name)
        assert name is not None
        if name.epoch is not None:
            assert torch.equal(read_weights(path)["weight"], torch.full((3,), name.epoch))
    if ranked:
        assert training.keeper.best_path() is not None
        assert CheckpointName.parse(training.keeper.best_path().name) == CheckpointName(
            "best", ranked[0], scores[ranked[0]]
        )


def test_spaced_epochs_are_kept_once_also_where_validations_fall_between(tmp_path: Path) -> None:
    training = Training(tmp_path, spaced=2)
    for epoch in (0.7, 1.4, 2.1, 2.8, 3.5, 4.2, 4.9):
        training.validate(epoch, 0.5)
    training.keeper.flush()
    training = Training(tmp_path, spaced=2)
    for epoch in (4.2, 4.9, 5.6, 6.3):
        training.validate(epoch, 0.5)
    training.keeper.flush()
    spaced = [name for name in training.files() if name.startswith("spaced")]
    assert spaced == [
        "spaced-epoch0002.1-0.50000.safetensors",
        "spaced-epoch0004.2-0.50000.safetensors",
        "spaced-epoch0006.3-0.50000.safetensors",
    ]


def test_low_points_of_cycles_are_kept(tmp_path: Path) -> None:
    for wanted in (False, True):
        training = Training(tmp_path / str(wanted), cycles=wanted)
        for epoch in range(1, 8):
            training.validate(epoch, 0.5, low_point=epoch in (3, 7))
        training.keeper.flush()
        cycles = [name for name in training.files() if name.startswith("cycle")]
        assert (
            cycles
            == [
                "cycle-epoch0003-0.50000.safetensors",
                "cycle-epoch0007-0.50000.safetensors",
            ]
            * wanted
        )


def test_the_average_is_kept_where_its_own_score_is_best(tmp_path: Path) -> None:
    training = Training(tmp_path)
    for epoch, (score, averaged) in enumerate([(0.1, 0.2), (0.9, 0.3), (0.5, 0.8), (0.6, 0.7)]):
        training.validate(epoch, score, averaged=True, average_score=averaged)
    training.keeper.flush()
    average = tmp_path / "average-epoch0002-0.80000.safetensors"
    assert torch.equal(read_weights(average)["weight"], torch.full((3,), 1.0))
    assert [name for name in training.files() if name.startswith("average")] == [average.name]


def test_a_better_file_is_on_the_disk_before_the_worse_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(tmp_path, interval=0.0)
    training.validate(1, 0.1)

    def full_disk(path: Path, *_: Any) -> None:
        raise CheckpointError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(keeper_module, "write", full_disk)
        with pytest.raises(CheckpointError):
            training.validate(2, 0.2)
        with pytest.raises(CheckpointError):
            training.validate(3, 0.15)
    assert training.files() == ["best-epoch0001-0.10000.safetensors", "last.safetensors"]
    training.keeper.flush()
    assert training.files() == ["best-epoch0002-0.20000.safetensors", "last.safetensors"]
    assert torch.equal(
        read_weights(tmp_path / "best-epoch0002-0.20000.safetensors")["weight"],
        torch.full((3,), 2.0),
    )


def test_fewer_are_kept_when_fewer_are_asked_for(tmp_path: Path) -> None:
    training = Training(tmp_path, best=3)
    for epoch in range(5):
        training.validate(epoch, epoch)
    training.keeper.flush()
    assert len(training.files()) == 4
    training = Training(tmp_path, best=1)
    training.keeper.flush()
    assert training.files() == ["best-epoch0004-4.00000.safetensors", "last.safetensors"]


def test_a_finished_trial_leaves_no_last_state(tmp_path: Path) -> None:
    training = Training(tmp_path, interval=0.0)
    training.validate(1, 0.1)
    assert training.keeper.last_path is not None
    training.validate(2, 0.2)
    training.keeper.discard_last()
    training.keeper.flush()
    assert training.keeper.last_path is None
    assert training.files() == ["best-epoch0002-0.20000.safetensors"]


def test_files_that_cannot_be_read_count_for_nothing_and_stay(tmp_path: Path) -> None:
    damaged = tmp_path / "best-epoch0001-0.99000.safetensors"
    damaged.write_bytes(b"damaged")
    training = Training(tmp_path)
    assert training.keeper.best_path() is None
    training.validate(2, 0.5)
    training.keeper.flush()
    assert training.keeper.best_path() == tmp_path / "best-epoch0002-0.50000.safetensors"
    assert damaged.exists()


def test_best_path_passes_over_a_file_that_a_disk_limit_took(tmp_path: Path) -> None:
    training = Training(tmp_path, best=2)
    for epoch, score in ((1, 0.5), (2, 0.6)):
        training.validate(epoch, score)
    training.keeper.flush()
    (tmp_path / "best-epoch0002-0.60000.safetensors").unlink()
    assert training.keeper.best_path() == tmp_path / "best-epoch0001-0.50000.safetensors"


def test_a_training_that_cannot_be_continued_leaves_weights_alone(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, direction="minimize", interval=0.0)
    keeper.record(Record(step=1, epoch=1), 0.5, lambda: {"w": torch.ones(1)}, None, None)
    assert [path.name for path in keeper.paths()] == ["best-epoch0001-0.50000.safetensors"]


def test_wrong_options_are_named(tmp_path: Path) -> None:
    for options, message in [
        ({"direction": "up"}, "direction must be"),
        ({"direction": "minimize", "best": 0}, "best=0"),
        ({"direction": "minimize", "spaced": -1}, "spaced=-1"),
        ({"direction": "minimize", "interval": -1.0}, "interval=-1"),
    ]:
        with pytest.raises(UserError, match=message):
            Keeper(tmp_path, **options)
