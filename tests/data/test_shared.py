from __future__ import annotations

import logging
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from nnstudy.data import (
    Data,
    Normalisation,
    Part,
    Source,
    Split,
    Subset,
    TensorPart,
    augmentation,
    datasets,
    from_dataset,
    load,
    tensors,
)
from nnstudy.data.shared import KEPT_SECONDS, STALE_SECONDS, open_shared, share
from tests.search.processes import run_at_once

MEGABYTE = 2**20


def images(count: int = 60, seed: int = 0, **options: Any) -> Data:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 4, 5), dtype=torch.uint8, generator=generator)
    return load(tensors(pixels, torch.arange(count) % 3, **options))


def parts(data: Data) -> dict[str, Part]:
    return {
        "train": data.train,
        "validation": data.validation,
        "selection": data.selection,
        "test": data.open_test(lambda: None),
    }


def copy_in(directory: Path) -> Path:
    (path,) = directory.glob("*.safetensors")
    return path


def reopened(data: Data, directory: Path) -> Data:
    assert share(data, directory)
    opened = open_shared(data.digest, directory)
    assert opened is not None
    return opened


def assert_equal_tensors(one: Tensor, other: Tensor) -> None:
    assert one.dtype == other.dtype
    assert torch.equal(one, other)


def assert_equal_normalisations(one: Normalisation | None, other: Normalisation | None) -> None:
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert_equal_tensors(one.mean, other.mean)
        assert_equal_tensors(one.std, other.std)
        assert one.full_scale == other.full_scale


def assert_equal_minibatches(
    one: Part, other: Part, *, batch_size: int, start: int, seed: int | None, augment: bool
) -> None:
    batches: list[list[tuple[Tensor, Tensor]]] = []
    for part in (one, other):
        torch.manual_seed(seed or 0)
        order = None if seed is None else part.order(torch.Generator().manual_seed(seed))
        is_image = len(part.shape) == 3 and not is_index(part)
        step = augmentation.shift(1) if is_image else noise
        taken = part.minibatches(
            batch_size, order, start=start, augmentation=step if augment else None
        )
        batches.append(list(taken))
    for (x, y), (x2, y2) in zip(*batches, strict=True):
        assert_equal_tensors(x, x2)
        assert_equal_tensors(y, y2)


def is_index(part: Part) -> bool:
    return part.inputs.dtype == torch.int64  # type: ignore[attr-defined]


def noise(inputs: Tensor) -> Tensor:
    return inputs + torch.randint(0, 2, inputs.shape)


@st.composite
def arguments_of_load(draw: st.DrawFn) -> tuple[Source, Split, Subset]:
    count = draw(st.integers(40, 60))
    shape = draw(st.sampled_from([(), (3,), (2, 4), (1, 4, 5), (3, 4, 5)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    dtype = draw(st.sampled_from([torch.uint8, torch.float32, torch.float64, torch.int64]))
    inputs = torch.randint(0, 256, (count, *shape), generator=generator).to(dtype)
    if draw(st.booleans()):
        inputs = inputs.flip(0).movedim(0, -1).contiguous().movedim(-1, 0)  # strides of its own
    regression = draw(st.booleans())
    targets: Tensor = torch.arange(count) % 4
    if regression:
        ours = draw(st.booleans())  # an autoencoder's targets are the inputs themselves
        targets = inputs if ours else torch.rand(count, 2, generator=generator)
    classes = st.sampled_from([None, (0, 1, 3), (2, 0)])
    return (
        tensors(
            inputs,
            targets,
            test=(inputs, targets) if draw(st.booleans()) else None,
            name=draw(st.text(max_size=5)),
            task="regression" if regression else "classification",
            normalise=draw(st.sampled_from(["standardise", "unit", "none"])),
            standardise_targets=regression and draw(st.booleans()),
        ),
        Split(
            validation=draw(st.sampled_from([0.5, 9])),
            selection=draw(st.sampled_from([0.0, 0.25])),
            seed=draw(st.integers(0, 2**32 - 1)),
            shuffle=draw(st.booleans()),
        ),
        Subset(
            classes=None if regression else draw(classes),
            examples=draw(st.sampled_from([None, 4])),
        ),
    )


@settings(deadline=None, max_examples=40)
@given(
    arguments=arguments_of_load(),
    batch_size=st.integers(1, 9),
    start=st.integers(0, 4),
    seed=st.none() | st.integers(0, 2**32 - 1),
    augment=st.booleans(),
)
def test_shared_data_equal_the_original(arguments, batch_size, start, seed, augment):
    data = load(*arguments)
    with tempfile.TemporaryDirectory() as directory:
        opened = reopened(data, Path(directory))

    assert opened.describe() == data.describe()
    for name in ("name", "shape", "task", "classes", "outputs", "class_names", "normalise"):
        assert getattr(opened, name) == getattr(data, name)
    assert (opened.split, opened.subset, opened.digest) == (data.split, data.subset, data.digest)
    assert_equal_normalisations(opened.normalisation, data.normalisation)
    assert_equal_normalisations(opened.target_normalisation, data.target_normalisation)
    theirs = parts(opened)
    for name, part in parts(data).items():
        assert_equal_tensors(theirs[name].targets, part.targets)
        assert_equal_tensors(theirs[name].inputs, part.inputs)  # type: ignore[attr-defined]
        assert_equal_minibatches(
            theirs[name], part, batch_size=batch_size, start=start, seed=seed, augment=augment
        )


def test_images_stay_bytes(tmp_path):
    opened = reopened(images(), tmp_path)
    assert isinstance(opened.train, TensorPart)
    assert opened.train.inputs.dtype == torch.uint8


def test_targets_may_be_the_inputs_themselves(tmp_path):
    numbers = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    data = load(tensors(numbers, numbers, test=(numbers, numbers), normalise="none"))
    test = reopened(data, tmp_path).open_test(lambda: None)
    assert_equal_tensors(test.targets, numbers)
    assert_equal_tensors(test.inputs, numbers)  # type: ignore[attr-defined]


def test_the_test_part_is_reached_only_by_a_recorded_look(tmp_path):
    opened = reopened(images(), tmp_path)
    looks: list[str] = []
    assert len(opened.open_test(lambda: looks.append("seen"))) == 12
    assert looks == ["seen"]
    assert "test=TensorPart" not in repr(opened)


def test_what_is_written_to_one_mapping_reaches_neither_another_nor_the_file(tmp_path):
    data = images()
    one, other = reopened(data, tmp_path), reopened(data, tmp_path)
    before = copy_in(tmp_path).read_bytes()

    one.train.targets.fill_(7)
    one.train.inputs.zero_()  # type: ignore[attr-defined]

    assert_equal_tensors(other.train.targets, data.train.targets)
    assert_equal_tensors(other.train.inputs, data.train.inputs)  # type: ignore[attr-defined]
    assert copy_in(tmp_path).read_bytes() == before


def test_data_stay_mapped_when_their_file_is_removed(tmp_path):
    data = images()
    opened = reopened(data, tmp_path)
    copy_in(tmp_path).unlink()
    assert_equal_tensors(opened.train.inputs, data.train.inputs)  # type: ignore[attr-defined]


def test_copies_are_in_the_users_cache_directory_unless_told():
    data = images(seed=11)
    assert share(data)
    kept = platformdirs.user_cache_path("nnstudy") / "data"
    assert kept.is_relative_to(os.environ["XDG_CACHE_HOME"])
    assert any(path.name.startswith(data.digest) for path in kept.iterdir())
    assert open_shared(data.digest) is not None


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such modes")
def test_nobody_else_may_read_a_copy(tmp_path):
    directory = tmp_path / "a" / "data"
    assert share(images(), directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert copy_in(directory).stat().st_mode & 0o777 == 0o600


def test_a_copy_that_is_there_is_not_written_again(tmp_path):
    data = images()
    assert share(data, tmp_path)
    before = copy_in(tmp_path).stat()
    assert share(data, tmp_path)
    after = copy_in(tmp_path).stat()
    assert after.st_ino == before.st_ino
    assert sorted(p.suffix for p in tmp_path.iterdir() if p.name != ".lock") == [".safetensors"]


def test_there_is_nothing_to_open_before_somebody_shares(tmp_path):
    assert open_shared("0" * 16, tmp_path) is None
    assert open_shared("0" * 16, tmp_path / "missing") is None


@pytest.mark.parametrize("left", [0, 7, 100, -1])
def test_a_truncated_copy_is_none_and_is_written_anew(tmp_path, left):
    data = images()
    assert share(data, tmp_path)
    whole = copy_in(tmp_path).read_bytes()
    copy_in(tmp_path).write_bytes(whole[:left])

    assert open_shared(data.digest, tmp_path) is None
    assert share(data, tmp_path)
    assert copy_in(tmp_path).read_bytes() == whole


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole + b"\0",
        lambda whole: os.urandom(len(whole)),
        lambda whole: whole.replace(b"nnstudy.data", b"nnstudy.date"),
        lambda whole: whole.replace(b"train.inputs", b"brain.inputs"),
        lambda whole: whole.replace(b'\\"seed\\"', b'\\"leed\\"'),
        lambda whole: whole.replace(b"0.25", b"9.25"),
    ],
    ids=["longer", "noise", "no facts", "no inputs", "unknown facts", "impossible facts"],
)
def test_a_damaged_copy_is_none(tmp_path, damage):
    data = images()
    assert share(data, tmp_path)
    whole = copy_in(tmp_path).read_bytes()
    assert damage(whole) != whole
    copy_in(tmp_path).write_bytes(damage(whole))
    assert open_shared(data.digest, tmp_path) is None


def test_the_copy_of_other_data_is_none(tmp_path):
    data = images()
    assert share(data, tmp_path)
    other = copy_in(tmp_path).name.replace(data.digest, "0" * 16)
    copy_in(tmp_path).rename(tmp_path / other)
    assert open_shared("0" * 16, tmp_path) is None


def test_a_stranger_s_tensors_are_none(tmp_path):
    assert share(images(), tmp_path)
    save_file(load_file(copy_in(tmp_path)), copy_in(tmp_path))
    assert open_shared(images().digest, tmp_path) is None


def test_a_digest_cannot_lead_out_of_the_directory(tmp_path):
    inside, data = tmp_path / "inside", images()
    assert share(data, tmp_path)
    inside.mkdir()
    for digest in (f"../{data.digest}", str(tmp_path / data.digest), "", "..", f"{data.digest}\n"):
        assert open_shared(digest, inside) is None
        assert open_shared(digest, tmp_path) is None


def test_what_is_not_in_memory_is_not_shared(tmp_path, caplog):
    pairs = [(torch.rand(3), i % 2) for i in range(40)]
    data = load(from_dataset(pairs, memory_limit=0))
    assert not share(data, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert caplog.records == []


def test_a_directory_that_cannot_be_made_is_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    assert not share(images(), tmp_path / "file" / "data")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(tmp_path / "file" / "data") in record.getMessage()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Makes each write beyond a size fail, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_a_warning_and_leaves_nothing_behind(tmp_path, caplog):
    data = images(2000)
    with largest_file(20_000):
        assert not share(data, tmp_path)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert share(data, tmp_path)


def make_older(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_copies_not_opened_for_a_week_are_removed_when_one_is_written(tmp_path):
    unused, used, new = images(seed=1), images(seed=2), images(seed=3)
    for data in (unused, used):
        assert share(data, tmp_path)
    (tmp_path / "notes.safetensors").write_text("not ours")
    for path in tmp_path.iterdir():
        make_older(path, KEPT_SECONDS + 60)
    assert open_shared(used.digest, tmp_path) is not None

    assert share(new, tmp_path)

    assert open_shared(unused.digest, tmp_path) is None
    assert open_shared(used.digest, tmp_path) is not None
    assert open_shared(new.digest, tmp_path) is not None
    assert (tmp_path / "notes.safetensors").exists()


def test_what_a_killed_writer_left_is_removed_but_not_what_one_is_writing(tmp_path):
    left, busy = tmp_path / ".writing-left", tmp_path / ".writing-busy"
    for directory in (left, busy):
        directory.mkdir()
        (directory / "half.safetensors").write_bytes(b"half")
    make_older(left, STALE_SECONDS + 60)
    assert share(images(), tmp_path)
    assert not left.exists()
    assert busy.exists()


def large() -> Data:
    """Some 50 MB, of which the training part has three fifths."""
    pixels = torch.zeros(100, MEGABYTE // 2, dtype=torch.uint8)
    pixels[:, 0] = torch.arange(100)
    return load(tensors(pixels, torch.arange(100) % 2, normalise="none"))


def memory_of(directory: Path) -> dict[str, float]:
    """Megabytes of this process that belong to the copy, by kind, from /proc/self/smaps."""
    total: dict[str, float] = {}
    belongs = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            belongs = str(directory) in line
        elif belongs and line.endswith(" kB"):
            kind, amount, _ = line.split()
            total[kind[:-1]] = total.get(kind[:-1], 0.0) + int(amount) / 1024
    return total


def meet(directory: str, what: str, number: int, processes: int) -> None:
    """Waits until all processes have come here."""
    Path(directory, f"{what}-{number}").touch()
    deadline = time.monotonic() + 60
    while len(list(Path(directory).glob(f"{what}-*"))) < processes:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def read_and_write(directory: str, digest: str, number: int, processes: int) -> dict[str, Any]:
    """Maps a copy, reads it all, measures while the others have it too, writes, looks again."""
    data = open_shared(digest, Path(directory))
    assert data is not None
    inputs = [part.inputs for part in parts(data).values()]  # type: ignore[attr-defined]
    total = sum(int(x.sum()) for x in inputs)
    meet(directory, "read", number, processes)
    memory = memory_of(Path(directory))
    meet(directory, "measured", number, processes)
    inputs[0][:, number + 1] = 1
    meet(directory, "written", number, processes)
    seen = inputs[0][:, 1 : processes + 1].sum(0).tolist()
    return {"number": number, "memory": memory, "total": total, "seen": seen}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/smaps is Linux's")
def test_two_processes_share_the_pages_of_a_copy_but_not_what_they_write(tmp_path):
    data = large()
    assert share(data, tmp_path)
    size = copy_in(tmp_path).stat().st_size / MEGABYTE

    answers = run_at_once(read_and_write, [(str(tmp_path), data.digest, i, 2) for i in range(2)])

    assert size > 49
    for answer in answers:
        assert answer["total"] == sum(range(100))
        memory = answer["memory"]
        if "Pss" not in memory or "Shared_Clean" not in memory:
            pytest.skip("this kernel does not tell which pages are shared")
        assert memory["Rss"] > 0.95 * size
        assert memory["Shared_Clean"] > 0.95 * size
        assert memory["Pss"] < 0.55 * size
        mine = answer["number"]
        written = [len(data.train) if i == mine else 0 for i in range(2)]
        assert answer["seen"] == written


def share_digits(directory: str, number: int, processes: int) -> bool:
    data = load(datasets.digits)
    meet(directory, "ready", number, processes)
    return share(data, Path(directory, "data"))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="other systems have no fork")
def test_ten_processes_that_share_at_once_all_succeed(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nnstudy.data.shared", "sklearn.datasets", "hypothesis"])
    with context.Pool(10) as pool:
        answers = pool.starmap(share_digits, [(str(tmp_path), i, 10) for i in range(10)], 1)

    assert answers == [True] * 10
    left = [path.name for path in (tmp_path / "data").iterdir() if path.name != ".lock"]
    assert left == [copy_in(tmp_path / "data").name]
    assert open_shared(load(datasets.digits).digest, tmp_path / "data") is not None
