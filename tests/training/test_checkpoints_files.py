from __future__ import annotations

import contextlib
import errno
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from nnstudy.errors import UserError
from nnstudy.training.checkpoints import (
    CheckpointError,
    read,
    read_metadata,
    read_weights,
    write,
)
from nnstudy.training.checkpoints import files as files_module
from tests.training.small_disk import small_disk

DTYPES = [
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint32),
]


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory per example of a property, which pytest's fixture is not."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def bits(tensor: Tensor) -> list[int]:
    return tensor.clone(memory_format=torch.contiguous_format).view(-1).view(torch.uint8).tolist()


def same(left: Any, right: Any) -> bool:
    """Whether two states are equal in types, structure and every bit."""
    if isinstance(left, Tensor):
        return (
            isinstance(right, Tensor)
            and (left.dtype, left.shape) == (right.dtype, right.shape)
            and bits(left) == bits(right)
        )
    if isinstance(left, np.ndarray):
        return isinstance(right, np.ndarray) and (
            (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())
        )
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        if math.isnan(left):
            return math.isnan(right)
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return bool(left == right)


def as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def transposed(tensor: Tensor) -> Tensor:
    return tensor.transpose(0, -1) if tensor.ndim else tensor


def every_other(tensor: Tensor) -> Tensor:
    return tensor[::2] if tensor.ndim else tensor


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    layout: Callable[[Tensor], Tensor] = draw(st.sampled_from([as_it_is, transposed, every_other]))
    dtype = draw(st.sampled_from(DTYPES))
    raw = torch.randint(0, 256, (max(1, math.prod(shape)) * dtype.itemsize,), dtype=torch.uint8)
    if dtype is torch.bool:
        raw = raw % 2
    return layout(raw.view(dtype)[: math.prod(shape)].reshape(shape))


arrays = st.builds(
    lambda dtype, values: np.array(values, dtype=dtype),
    st.sampled_from(["float64", "float32", "int64", "uint32", "bool"]),
    st.lists(st.integers(0, 5), max_size=4),
)
keys = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["$tensor", "$", "a/b", "a", "0"]),
    st.integers(),
    st.booleans(),
    st.none(),
    st.tuples(st.integers(), st.text(max_size=2)),
)
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), tensors(), arrays
)
trees = st.recursive(
    leaves,
    lambda children: st.one_of(
        st.lists(children, max_size=4),
        st.lists(children, max_size=3).map(tuple),
        st.dictionaries(keys, children, max_size=4),
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(state=st.dictionaries(keys, trees, max_size=4))
def test_every_state_comes_back_bit_for_bit(state: dict[Any, Any]) -> None:
    if not all(type(key) is str and not key.startswith("$") for key in state):
        state = {"state": state}
    with temporary_directory() as directory:
        write(directory / "a.safetensors", state, {"trial": "7"})
        found, metadata = read(directory / "a.safetensors")
        assert metadata == {"trial": "7"}
        assert same(state, found)


OPTIMIZERS = {
    "momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "adam": torch.optim.Adam,
    "fused adamw": partial(torch.optim.AdamW, fused=True, amsgrad=True),
    "rmsprop": partial(torch.optim.RMSprop, centered=True, momentum=0.5),
    "adagrad": torch.optim.Adagrad,
    "lbfgs": partial(torch.optim.LBFGS, max_iter=3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_from_a_checkpoint_as_if_undisturbed(name: str, tmp_path: Path) -> None:
    def make() -> tuple[nn.Module, torch.optim.Optimizer, Any]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
        optimizer = OPTIMIZERS[name](network.parameters())
        return network, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)

    def train(network: nn.Module, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
        inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(3))

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = network(inputs).square().mean()
            loss.backward()
            return loss

        for _ in range(3):
            optimizer.step(closure)
            schedule.step()

    undisturbed = make()
    train(*undisturbed)
    path = tmp_path / "last.safetensors"
    names = ("network", "optimizer", "schedule")
    write(path, {n: part.state_dict() for n, part in zip(names, undisturbed, strict=True)})
    train(*undisturbed)

    state, _ = read(path)
    continued = make()
    for part_name, part in zip(names, continued, strict=True):
        part.load_state_dict(state[part_name])
    train(*continued)
    for before, after in zip(undisturbed, continued, strict=True):
        assert same(dict(before.state_dict()), dict(after.state_dict()))


def test_random_states_come_back(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    path = tmp_path / "a.safetensors"
    state = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "generator": generator.bit_generator.state,
        "torch": torch.get_rng_state(),
    }
    write(path, state)
    drawn = (random.random(), np.random.rand(), generator.random(), torch.rand(()).item())
    found, _ = read(path)
    random.setstate(found["python"])
    np.random.set_state(found["numpy"])
    generator.bit_generator.state = found["generator"]
    torch.set_rng_state(found["torch"])
    assert drawn == (random.random(), np.random.rand(), generator.random(), torch.rand(()).item())


def test_shared_tensors_are_kept_once_and_come_back_shared(tmp_path: Path) -> None:
    big = torch.randn(1000)
    path = tmp_path / "a.safetensors"
    write(path, {"a": big, "b": [big.detach()], "part": big[:500], "reversed": big.view(10, 100).T})
    found, _ = read(path)
    assert found["a"] is found["b"][0]
    assert torch.equal(found["part"], big[:500])
    assert torch.equal(found["reversed"], big.view(10, 100).T)
    assert path.stat().st_size < 4 * (1000 + 500 + 1000) + 1000


def test_complex_views_are_resolved(tmp_path: Path) -> None:
    value = torch.complex(torch.randn(3), torch.randn(3))
    write(tmp_path / "a", {"conjugate": value.conj(), "negative": value.conj().imag})
    found, _ = read(tmp_path / "a")
    assert torch.equal(found["conjugate"], value.conj())
    assert torch.equal(found["negative"], -value.imag)


def test_weights_are_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, averaged = nn.Linear(3, 2), nn.Linear(3, 2)
    state = {
        "network": network.state_dict(),
        "average": {"updates": 3, "network": averaged.state_dict()},
        "optimizer": {"state": {0: {"momentum_buffer": torch.randn(100)}}},
    }
    path = tmp_path / "last.safetensors"
    write(path, state)
    fetched = []
    original = files_module.decode
    monkeypatch.setattr(
        files_module,
        "decode",
        lambda node, tensor: original(node, lambda name: fetched.append(name) or tensor(name)),
    )
    assert same(dict(network.state_dict()), read_weights(path))
    assert same(dict(averaged.state_dict()), read_weights(path, "average"))
    assert set(fetched) == {
        f"{place}/{name}" for place in ("network", "average/network") for name in ("weight", "bias")
    }
    write(path, {"average": {"network": averaged.state_dict()}})
    assert same(dict(averaged.state_dict()), read_weights(path))
    with pytest.raises(CheckpointError, match=r"last\.safetensors: it holds no weights of the net"):
        read_weights(path, "network")


def test_what_cannot_be_held_is_named(tmp_path: Path) -> None:
    for value, what in [(object(), "object"), ({1, 2}, "set"), (b"x", "bytes")]:
        with pytest.raises(CheckpointError, match=f"{what} at 'schedule/0'"):
            write(tmp_path / "a", {"schedule": [value]})
    for tensor in (torch.eye(3).to_sparse(), torch.empty(3, device="meta")):
        with pytest.raises(CheckpointError, match="tensor at 'x'"):
            write(tmp_path / "a", {"x": tensor})
    with pytest.raises(CheckpointError, match="array of object at 'x'"):
        write(tmp_path / "a", {"x": np.array([None])})
    with pytest.raises(CheckpointError, match=r"cannot write the checkpoint .*a: "):
        write(tmp_path / "a", {"x": torch.zeros(2, dtype=torch.complex128)})
    assert list(tmp_path.iterdir()) == []


# -- Files that are not what they should be ------------------------------------------------------


def small_checkpoint() -> bytes:
    with temporary_directory() as directory:
        path = directory / "a"
        write(path, {"network": {"w": torch.arange(5.0)}, "x": [1, (2.5, None)]}, {"score": "0.5"})
        return path.read_bytes()


CONTENT = small_checkpoint()


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, len(CONTENT) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(position: int, bit: int) -> None:
    damaged = bytearray(CONTENT)
    damaged[position] ^= 1 << bit
    with temporary_directory() as directory:
        path, intact = directory / "damaged", directory / "intact"
        path.write_bytes(damaged)
        intact.write_bytes(CONTENT)
        found = None
        with contextlib.suppress(CheckpointError):
            found = read(path)
        # White space in the header may differ.
        assert found is None or same(found, read(intact))


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, len(CONTENT) - 1))
def test_a_truncated_file_is_refused(length: int) -> None:
    with temporary_directory() as directory:
        path = directory / "short"
        path.write_bytes(CONTENT[:length])
        for reader in (read, read_weights, read_metadata):
            with pytest.raises(CheckpointError, match=str(path)):
                reader(path)


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=200))
def test_noise_is_refused(content: bytes) -> None:
    with temporary_directory() as directory:
        path = directory / "noise"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=str(path)):
            read(path)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(Path(tempfile.gettempdir()) / "nnstudy-bomb"),)


def test_files_of_others_are_refused_without_running_code(tmp_path: Path) -> None:
    foreign, pickled = tmp_path / "foreign.safetensors", tmp_path / "pickled.safetensors"
    save_file({"w": torch.zeros(2)}, foreign)
    with pytest.raises(CheckpointError, match="foreign"):
        read(foreign)
    torch.save({"network": Bomb()}, pickled)
    with pytest.raises(CheckpointError, match="pickled"):
        read(pickled)
    assert not (Path(tempfile.gettempdir()) / "nnstudy-bomb").exists()
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        read(tmp_path / "missing")
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        read(tmp_path)


@pytest.mark.parametrize(
    "state",
    [
        "[" * 100_000,
        '{"network": {"$tensor": ["w"]}}',
        '{"network": {"$tensor": ["other", 0]}}',
        '{"network": {"$tensor": 5}}',
        '{"network": {"$items": [[[], 1]]}}',
        '{"network": {"$items": 3}}',
        '{"network": {"$tuple": null}}',
        '{"network": {"$float": "x"}}',
        '{"network": ' + "9" * 10_000 + "}",
        "7",
        "not JSON",
    ],
)
def test_a_forged_state_is_refused(state: str, tmp_path: Path) -> None:
    path = tmp_path / "forged"
    entries = {"nnstudy.schema": "1", "nnstudy.state": state}
    entries["nnstudy.checksum"] = files_module._checksum(entries)
    save_file({"w": torch.zeros(2)}, path, entries)
    with pytest.raises(CheckpointError, match=str(path)):
        read(path)


def test_a_newer_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new"
    monkeypatch.setattr(files_module, "SCHEMA", 2)
    write(path, {"x": 1})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"new: it has schema version 2.*upgrade nnstudy"):
        read(path)


# -- Disks that are full ------------------------------------------------------------------------


def write_too_much(path: str) -> None:
    """Run in a process of its own: a limit on file sizes cannot be lifted again."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    with pytest.raises(CheckpointError, match=f"{path}: File too large") as caught:
        write(Path(path), {"network": {"w": torch.zeros(10_000)}})
    assert isinstance(caught.value, UserError)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    write(path, {"epoch": 1})
    code = f"from {__name__} import write_too_much as f; f({str(path)!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert read(path)[0] == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        path = disk / "last.safetensors"
        write(path, {"epoch": 1})
        with pytest.raises(CheckpointError, match="No space left on device; make room") as caught:
            write(path, {"network": {"w": torch.zeros(100_000)}})
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.ENOSPC
        assert read(path)[0] == {"epoch": 1}
        assert list(disk.iterdir()) == [path]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot write the checkpoint .*Not a directory"):
        write(tmp_path / "file" / "trial" / "last.safetensors", {})


def test_a_file_is_whole_while_it_is_replaced_and_after_its_writer_was_killed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "last.safetensors"
    code = (
        "import sys, torch\nfrom pathlib import Path\n"
        "from nnstudy.training.checkpoints import write\n"
        "for i in range(10**9):\n"
        "    write(Path(sys.argv[1]), {'i': i, 'w': torch.full((10_000,), float(i))})\n"
        "    if i == 0: print('started', flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    seen: list[int] = []

    def look() -> None:
        state, _ = read(path)
        assert torch.equal(state["w"], torch.full((10_000,), float(state["i"])))
        seen.append(state["i"])

    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"started\n"
        while len(set(seen)) < 30:
            look()
        writer.kill()
        writer.wait()
        look()
    assert seen == sorted(seen)


def test_what_is_read_is_independent_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write(path, {"x": torch.ones(100), "y": torch.ones(100)})
    first, _ = read(path)
    content = path.read_bytes()
    path.write_bytes(bytes(len(content)))
    first["x"] += 1
    assert torch.equal(first["x"], torch.full((100,), 2.0))
    assert torch.equal(first["y"], torch.ones(100))
