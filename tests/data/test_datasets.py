from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from nnstudy.data import Split, datasets, load
from nnstudy.errors import UserError

DIRECTORY = os.environ.get("NNSTUDY_DATA_DIR")
needs_mnist = pytest.mark.skipif(
    not DIRECTORY or not (Path(DIRECTORY) / "MNIST" / "raw").is_dir(),
    reason="NNSTUDY_DATA_DIR names no directory with MNIST/raw",
)


def whole(part):
    return next(part.minibatches(len(part)))


def test_digits_are_images_of_bytes_with_their_grey_levels_kept():
    source = datasets.digits()
    inputs = torch.cat(list(source.examples.raw_inputs()))
    assert inputs.dtype == torch.uint8
    assert inputs.shape == (1797, 1, 8, 8)
    levels = torch.from_numpy(load_digits().images)
    assert torch.equal((inputs[:, 0] * (16 / 255)).round().double(), levels)
    assert (inputs.min(), inputs.max()) == (0, 255)


def test_digits_are_dealt_out_with_every_class_in_every_part():
    data = load(datasets.digits)
    assert (data.shape, data.classes, data.task) == ((1, 8, 8), 10, "classification")
    for part in (data.train, data.validation, data.selection, data.open_test(lambda: None)):
        assert torch.bincount(part.targets, minlength=10).min() > 0
    assert data.class_names == tuple("0123456789")


def test_digits_rows_are_the_digits_as_sequences():
    rows, images = load(datasets.digits_rows), load(datasets.digits)
    assert rows.shape == (8, 8)
    assert torch.equal(rows.train.targets, images.train.targets)


def test_diabetes_is_a_regression_problem_whose_mean_scores_one():
    data = load(datasets.diabetes)
    assert (data.shape, data.outputs, data.task) == ((10,), 1, "regression")
    x, y = whole(data.train)
    assert torch.allclose(y.square().mean(), torch.tensor(1.0), atol=1e-4)
    assert torch.allclose(x.mean(0), torch.zeros(10), atol=1e-4)
    raw = load(lambda: datasets.diabetes(standardise_targets=False))
    assert raw.train.targets.min() >= 25
    assert raw.train.targets.max() <= 346


@pytest.mark.parametrize("dataset", [datasets.mnist, datasets.fashion_mnist, datasets.cifar10])
def test_missing_files_are_a_clear_error(dataset, tmp_path):
    with pytest.raises(
        UserError, match="add --download to fetch it, put its files there"
    ) as caught:
        load(dataset, directory=tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_damaged_files_are_a_clear_error(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"{part}-{kind}-ubyte").write_bytes(b"\x00\x00\x08\x03")
    with pytest.raises(UserError, match="MNIST is not in"):
        load(datasets.mnist, directory=tmp_path)


def test_the_directory_comes_from_the_environment_else_from_the_working_directory(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NNSTUDY_DATA_DIR", str(tmp_path / "there"))
    with pytest.raises(UserError, match=str(tmp_path / "there")):
        datasets.mnist()
    monkeypatch.delenv("NNSTUDY_DATA_DIR")
    with pytest.raises(UserError, match=str(tmp_path / "data")):
        datasets.mnist()


def test_fashion_mnist_and_cifar10_are_read_from_torchvisions_files(tmp_path, monkeypatch):
    """Small files of the real formats; the checksums of CIFAR-10 are theirs."""
    write_idx(tmp_path / "FashionMNIST" / "raw", count=40)
    data = load(datasets.fashion_mnist, directory=tmp_path)
    assert data.shape == (1, 28, 28)
    assert data.class_names[0] == "T-shirt/top"
    write_cifar(tmp_path, monkeypatch, count=20)
    data = load(datasets.cifar10, Split(validation=20), directory=tmp_path)
    assert data.shape == (3, 32, 32)
    assert data.class_names[:2] == ("airplane", "automobile")
    assert len(data.train) == 80
    x, y = next(data.train.minibatches(80))
    red = data.normalisation.restore(x)[:, 0] * 255
    assert torch.allclose(red.mean((1, 2)), y.float() * 10, atol=1e-2)


@needs_mnist
def test_mnist_has_a_test_set_of_its_own_and_pixels_from_0_to_1_when_asked():
    data = load(datasets.mnist, Split(validation=10_000, selection=0))
    assert (data.shape, data.classes) == ((1, 28, 28), 10)
    assert (len(data.train), len(data.validation)) == (50_000, 10_000)
    assert len(data.open_test(lambda: None)) == 10_000
    assert data.normalisation.mean.item() == pytest.approx(0.1307, abs=5e-4)
    assert data.normalisation.std.item() == pytest.approx(0.3081, abs=5e-4)
    plain = load(lambda: datasets.mnist(normalise="unit"), Split(validation=10_000, selection=0))
    x, _ = next(plain.train.minibatches(1000))
    assert (x.min(), x.max()) == (0, 1)


def write_idx(raw: Path, count: int) -> None:
    raw.mkdir(parents=True)
    pixels = bytes(range(256)) * (count * 28 * 28 // 256 + 1)
    for part in ("train", "t10k"):
        header = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (count, 28, 28))
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + pixels[: count * 784])
        labels = (
            b"\x00\x00\x08\x01" + count.to_bytes(4, "big") + bytes(i % 10 for i in range(count))
        )
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(labels)


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    import hashlib
    import pickle

    import numpy as np
    from torchvision.datasets import CIFAR10

    folder = root / "cifar-10-batches-py"
    folder.mkdir()

    def write(name: str, contents: object) -> list[str]:
        raw = pickle.dumps(contents)
        (folder / name).write_bytes(raw)
        return [name, hashlib.md5(raw).hexdigest()]

    labels = [i % 10 for i in range(count)]
    images = np.zeros((count, 3, 1024), np.uint8)
    images[:, 0] = np.array(labels)[:, None] * 10
    batch = {"data": images.reshape(count, -1), "labels": labels}
    names = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    train = [write(f"data_batch_{i}", batch) for i in range(1, 6)]
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [write("test_batch", batch)])
    meta = write("batches.meta", {"label_names": names})
    monkeypatch.setattr(
        CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]}
    )
