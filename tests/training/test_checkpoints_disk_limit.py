from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudy.errors import UserError
from nnstudy.training.checkpoints import CheckpointName, enforce_limit, parse_size
from nnstudy.training.checkpoints.disk_limit import (
    PROTECTED_TRIALS,
    StoredFile,
    choose_dropped,
)

KINDS = ["last", "best", "spaced", "cycle", "average"]


def stored(
    trial: int, kind: str, score: float = 0.0, size: int = 10, stage: str = "a"
) -> StoredFile:
    name = CheckpointName("last") if kind == "last" else CheckpointName(kind, 1, score)
    return StoredFile(Path(f"study/{stage}/trial-{trial:05d}/{name}"), name, size)


@st.composite
def studies(draw: st.DrawFn) -> tuple[list[StoredFile], set[Path]]:
    files = {}
    for trial in range(draw(st.integers(0, 16))):
        for kind in draw(st.lists(st.sampled_from(KINDS), max_size=5)):
            score = draw(st.one_of(st.integers(0, 30).map(lambda n: n / 10), st.just(float("nan"))))
            file = stored(trial, kind, score, draw(st.integers(1, 100)))
            files[file.path] = file
    trials = sorted({file.trial for file in files.values()})
    running = draw(st.sets(st.sampled_from(trials))) if trials else set()
    return list(files.values()), running


@settings(max_examples=100, deadline=None)
@given(
    study=studies(), limit=st.integers(0, 3000), direction=st.sampled_from(["maximize", "minimize"])
)
def test_what_is_dropped_suffices_is_needed_and_is_the_least_useful(
    study: tuple[list[StoredFile], set[Path]], limit: int, direction: str
) -> None:
    files, running = study
    dropped = choose_dropped(files, limit, running, direction)
    remaining = [file for file in files if file not in dropped]
    size = sum(file.size for file in remaining)

    def needed_to_go_on(file: StoredFile) -> bool:
        return file.name.kind == "last" and file.trial in running

    assert len(set(dropped)) == len(dropped)
    assert not any(needed_to_go_on(file) for file in dropped)
    assert size <= limit or all(needed_to_go_on(file) for file in remaining)
    if dropped:
        assert size + dropped[-1].size > limit, "the last one need not have gone"

    sign = 1 if direction == "maximize" else -1

    def worth(score: float | None) -> float:
        return float("-inf") if score is None or score != score else sign * score

    best_of = {
        trial: max(worth(file.name.score) for file in files if file.trial == trial)
        for trial in {file.trial for file in files}
    }
    top = sorted(best_of, key=lambda trial: (-best_of[trial], trial))[:PROTECTED_TRIALS]

    def tier(file: StoredFile) -> int:
        if file.name.kind == "best" and file.trial in top:
            return 3
        return {"last": 0, "spaced": 1, "cycle": 1, "best": 2, "average": 2}[file.name.kind]

    removable = [file for file in remaining if not needed_to_go_on(file)]
    order = [(tier(file), best_of[file.trial]) for file in dropped]
    assert order == sorted(order)
    assert all(order[-1] <= (tier(file), best_of[file.trial]) for file in removable if order)


def test_order_of_the_kinds() -> None:
    files = [stored(trial, kind, trial / 100) for trial in range(12) for kind in KINDS]
    running = {files[0].trial}
    dropped = choose_dropped(files, 0, running, "maximize")
    names = [(file.name.kind, int(file.trial.name[-5:])) for file in dropped]
    assert [name for name in names if name[0] == "last"] == names[:11]
    assert ("last", 0) not in names
    assert {kind for kind, _ in names[11:35]} == {"spaced", "cycle"}
    assert [trial for _, trial in names[11:35]] == [trial for trial in range(12) for _ in "sc"]
    assert {trial for kind, trial in names[35:39]} == {0, 1}
    assert names[39:49] == [("average", trial) for trial in range(2, 12)]
    assert names[49:] == [("best", trial) for trial in range(2, 12)]


def test_the_ten_best_count_over_all_stages_and_by_direction() -> None:
    files = [
        stored(trial, "best", trial / 100, stage=stage) for stage in "ab" for trial in range(10)
    ]
    dropped = choose_dropped(files, 100, set(), "minimize")
    assert sorted(file.name.score or 0.0 for file in dropped) == pytest.approx(
        [score / 100 for score in (5, 5, 6, 6, 7, 7, 8, 8, 9, 9)]
    )


def test_files_are_removed_and_others_left_alone(tmp_path: Path) -> None:
    study = tmp_path / "digits"
    trials = [study / "coarse" / f"trial-{number:05d}" for number in range(3)]
    for number, trial in enumerate(trials):
        trial.mkdir(parents=True)
        for name in (
            CheckpointName("last"),
            CheckpointName("best", 3, number / 10),
            CheckpointName("spaced", 3, number / 10),
        ):
            (trial / str(name)).write_bytes(b"x" * 100)
    (trials[0] / "notes.txt").write_bytes(b"x" * 1000)
    being_written, abandoned = trials[0] / ".last.safetensors.1.tmp", trials[0] / ".b.2.tmp"
    being_written.write_bytes(b"x")
    abandoned.write_bytes(b"x")
    hour_ago = time.time() - 3600
    os.utime(abandoned, (hour_ago, hour_ago))

    assert enforce_limit(study, 900, {trials[2]}, "maximize") == []
    assert not abandoned.exists()
    assert being_written.exists()
    removed = enforce_limit(study, 550, {trials[2]}, "maximize")
    assert removed == [
        trials[0] / "last.safetensors",
        trials[1] / "last.safetensors",
        trials[0] / "spaced-epoch0003-0.00000.safetensors",
        trials[1] / "spaced-epoch0003-0.10000.safetensors",
    ]
    assert not any(path.exists() for path in removed)
    enforce_limit(study, 0, {trials[2]}, "maximize")
    assert [path.name for path in sorted(study.rglob("*.*")) if path.is_file()] == [
        being_written.name,
        "notes.txt",
        "last.safetensors",
    ]


def test_a_study_without_checkpoints_is_within_its_limit(tmp_path: Path) -> None:
    assert enforce_limit(tmp_path / "none", 0, set(), "minimize") == []


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2 * 10**9),
        ("2 gb", 2 * 10**9),
        ("1.5GiB", 3 * 2**29),
        ("500M", 5 * 10**8),
        ("10 KiB", 10240),
        ("7kB", 7000),
        ("1T", 10**12),
        ("4096", 4096),
        ("4096 B", 4096),
        ("0", 0),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "-1GB", "2XB", "1e9", "inf", "nan", "2 GB more", "1,5GB"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a size"):
        parse_size(text)
