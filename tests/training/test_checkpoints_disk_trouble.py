"""What a keeper does when its disk is full or read-only for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudy.training.checkpoints import CheckpointError, Keeper, read, read_weights
from nnstudy.training.record import Record
from tests.training.small_disk import fill, read_only, small_disk


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_disk(tmp_path_factory.mktemp("mounted") / "disk", 512) as mounted:
        yield mounted


class Trial:
    """A keeper and the training whose weights and state it keeps."""

    def __init__(self, directory: Path, interval: float = 0.0) -> None:
        self.position = 0
        self.weight = torch.zeros(500)
        self.now = 0.0
        self.keeper = Keeper(
            directory, direction="maximize", best=2, interval=interval, clock=lambda: self.now
        )

    def train(self) -> None:
        self.now += 0.4
        self.position += 1
        self.weight.fill_(self.position)

    def record(self, score: float) -> None:
        record = Record(step=self.position, epoch=float(self.position))
        self.keeper.record(
            record, score, lambda: {"weight": self.weight}, None, lambda: self.state("record")
        )

    def state(self, kind: str) -> dict[str, Any]:
        return {"kind": kind, "position": self.position, "network": {"weight": self.weight}}

    def files(self) -> list[str]:
        return [path.name for path in self.keeper.paths()]


operations = st.lists(
    st.one_of(
        st.integers(0, 5).map(lambda score: ("record", score)),
        st.sampled_from([("flush", 0), ("flush inside", 0), ("full", 0), ("room", 0)]),
    ),
    min_size=1,
    max_size=15,
)


def do(trial: Trial, operation: str, score: float) -> None:
    trial.train()
    if operation == "record":
        trial.record(score)
    elif operation == "flush":
        trial.keeper.flush()
    elif operation == "flush inside":
        trial.keeper.flush(lambda: trial.state("inside"))


@settings(max_examples=30, deadline=None)
@given(operations=operations, interval=st.sampled_from([0.0, 1.0]))
def test_whatever_fails_on_a_full_disk_is_written_once_there_is_room(
    tmp_path_factory: pytest.TempPathFactory,
    disk: Path,
    operations: list[tuple[str, int]],
    interval: float,
) -> None:
    for path in disk.rglob("*.safetensors"):
        path.unlink()
    trial = Trial(disk / "trial", interval)
    healthy = Trial(tmp_path_factory.mktemp("trial"), interval)
    filler = disk / "filler"
    try:
        for operation in operations:
            last = trial.keeper.last_path
            before = read(last)[0]["position"] if last else None
            if operation[0] == "full":
                fill(disk)
            elif operation[0] == "room":
                filler.unlink(missing_ok=True)
            do(healthy, *operation)
            allowed = (CheckpointError,) if filler.exists() else ()
            with contextlib.suppress(*allowed):
                do(trial, *operation)
            last = trial.keeper.last_path
            after = read(last)[0]["position"] if last else None
            assert after in (before, trial.position), "neither the old state nor the new one"
            assert not list(disk.rglob("*.tmp"))
    finally:
        filler.unlink(missing_ok=True)

    healthy.keeper.flush()
    trial.keeper.flush()
    assert trial.files() == healthy.files()
    for ours, theirs in zip(trial.keeper.paths(), healthy.keeper.paths(), strict=True):
        assert torch.equal(read_weights(ours)["weight"], read_weights(theirs)["weight"])
    if (last := healthy.keeper.last_path) is not None:
        assert trial.keeper.last_path is not None
        state, expected = read(trial.keeper.last_path)[0], read(last)[0]
        assert (state["kind"], state["position"]) == (expected["kind"], expected["position"])


def test_on_a_read_only_disk_what_cannot_be_removed_is_named_and_goes_later(disk: Path) -> None:
    trial = Trial(disk / "read-only")
    for score in (1, 2):
        trial.train()
        trial.record(score)
    fewer = Keeper(disk / "read-only", direction="maximize", best=1)
    with read_only(disk):
        with pytest.raises(CheckpointError, match=r"remove .*best-epoch0001.*Read-only"):
            fewer.flush()
        with pytest.raises(CheckpointError, match=r"remove .*last.safetensors.*Read-only"):
            fewer.discard_last()
        with pytest.raises(CheckpointError, match=r"write .*last.safetensors.*Read-only"):
            trial.keeper.flush(lambda: trial.state("inside"))
        assert fewer.last_path is not None
        assert read(fewer.last_path)[0]["kind"] == "record"

    trial.keeper.flush()
    assert read(fewer.last_path)[0]["kind"] == "inside"
    fewer.flush()
    fewer.discard_last()
    assert trial.files() == ["best-epoch0002-2.00000.safetensors"]


def test_a_state_inside_an_epoch_can_be_kept_before_any_record(tmp_path: Path) -> None:
    trial = Trial(tmp_path / "trial")
    trial.keeper.flush()
    assert trial.files() == []

    trial.train()
    trial.keeper.flush(lambda: trial.state("inside"))
    trial.train()
    trial.keeper.flush()

    assert trial.files() == ["last.safetensors"]
    state, metadata = read(tmp_path / "trial" / "last.safetensors")
    assert (state["kind"], state["position"], metadata["kind"]) == ("inside", 2, "last")
    trial.record(0.5)
    assert trial.keeper.last_path is not None
    assert read(trial.keeper.last_path)[0]["kind"] == "record"
