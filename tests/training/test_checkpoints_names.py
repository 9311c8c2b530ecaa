from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudy.errors import UserError
from nnstudy.training.checkpoints import CheckpointName, trial_directory


def test_names_say_what_is_in_a_file() -> None:
    assert str(CheckpointName("last")) == "last.safetensors"
    assert str(CheckpointName("best", 12, 0.9812)) == "best-epoch0012-0.98120.safetensors"
    assert str(CheckpointName("cycle", 2.5, -3)) == "cycle-epoch0002.5--3.00000.safetensors"
    assert str(CheckpointName("average", 12345, 1e-9)) == (
        "average-epoch12345-1.00000e-09.safetensors"
    )


@given(
    kind=st.sampled_from(["best", "spaced", "cycle", "average"]),
    epoch=st.one_of(st.integers(0, 10**6), st.floats(0, 1000)),
    score=st.floats(allow_nan=False),
)
def test_a_name_is_understood_again(kind: str, epoch: float, score: float) -> None:
    found = CheckpointName.parse(str(CheckpointName(kind, epoch, score)))
    assert found is not None
    assert found.kind == kind
    assert found.epoch == pytest.approx(epoch, abs=1e-6)
    assert found.score == pytest.approx(score, rel=1e-2)


@pytest.mark.parametrize(
    "name",
    [
        ".last.safetensors.0123456789abcdef.tmp",
        ".best-epoch0012-0.98120.safetensors.0123456789abcdef.tmp",
        "last.safetensors.bak",
        "best.safetensors",
        "last-epoch0012-0.98120.safetensors",
        "best-epoch0012.safetensors",
        "best-epoch12-0.98120.safetensors",
        "worst-epoch0012-0.98120.safetensors",
        "best-epoch0012-0.98120.safetensors\n",
        "model.pt",
        "",
    ],
)
def test_other_files_are_no_checkpoints(name: str) -> None:
    assert CheckpointName.parse(name) is None


def test_directories_are_named_after_study_stage_and_trial() -> None:
    found = trial_directory(Path("mlruns/checkpoints"), "my-study_1.2", "fine", 12)
    assert found == Path("mlruns/checkpoints/my-study_1.2/fine/trial-00012")


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "../a", "/etc", "a\\b", "a\n", "a b", "ä", "C:x"]
)
def test_names_cannot_leave_their_directory(name: str) -> None:
    with pytest.raises(UserError, match="cannot be the name of a study"):
        trial_directory(Path("x"), name, "coarse", 0)
    with pytest.raises(UserError, match="cannot be the name of a stage"):
        trial_directory(Path("x"), "digits", name, 0)
