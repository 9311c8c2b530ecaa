from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset
from torch.utils.data import Subset as TorchSubset

from nnstudy.data import LoaderPart, Split, TensorPart, from_dataset, load
from nnstudy.errors import UserError

X = torch.rand(60, 3, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(60) % 3


class Pairs(Dataset):
    """A dataset that tells nothing of its targets and counts what is read."""

    def __init__(self, inputs=X, targets=Y):
        self.inputs, self.labels_kept, self.reads = inputs, targets, []

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, position):
        self.reads.append(position)
        return self.inputs[position], self.labels_kept[position]


class Noisy(Pairs):
    def __getitem__(self, position):
        return self.inputs[position] + torch.rand(()), int(self.labels_kept[position])


def everything(part, **options):
    batches = list(part.minibatches(7, **options))
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_that_does_not_fit_gives_the_minibatches_of_one_that_does(workers):
    small = load(from_dataset(Pairs()))
    large = load(from_dataset(Pairs(), memory_limit=100, workers=workers))
    assert isinstance(small.train, TensorPart)
    assert isinstance(large.train, LoaderPart)
    assert small.shape == large.shape == (3, 4, 4)
    order = small.train.order(torch.Generator().manual_seed(5))
    for one, other in zip(
        everything(small.train, order=order), everything(large.train, order=order), strict=True
    ):
        torch.testing.assert_close(one, other)
    plain = [everything(part)[0] for part in (small.validation, large.validation)]
    torch.testing.assert_close(*plain)


def test_minibatches_left_out_are_not_even_read():
    dataset = Pairs()
    part = load(from_dataset(dataset, memory_limit=0)).train
    order = part.order(torch.Generator().manual_seed(5))
    whole = list(part.minibatches(8, order))
    dataset.reads.clear()
    rest = list(part.minibatches(8, order, start=3))
    assert len(dataset.reads) == len(part) - 24
    for (x, y), (x2, y2) in zip(whole[3:], rest, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def test_reading_draws_nothing_from_the_global_random_state():
    part = load(from_dataset(Pairs(), memory_limit=0)).train
    state = torch.get_rng_state()
    everything(part)
    load(from_dataset(Pairs(), memory_limit=0))
    assert torch.equal(state, torch.get_rng_state())


def test_random_transforms_are_drawn_anew_each_time():
    data = load(Noisy())
    assert isinstance(data.train, LoaderPart)
    first, second = everything(data.train)[0], everything(data.train)[0]
    assert not torch.equal(first, second)
    assert load(Noisy()).digest == data.digest


def test_random_targets_are_refused():
    class Moving(Pairs):
        def __getitem__(self, position):
            return self.inputs[position], float(torch.rand(()))

    with pytest.raises(UserError, match="targets of Moving change"):
        load(Moving())


def test_targets_that_a_dataset_tells_are_not_read():
    class Telling(Pairs):
        targets = Y.tolist()

    dataset = Telling()
    source = from_dataset(dataset, memory_limit=0)
    assert torch.equal(source.examples.targets, Y)
    assert max(dataset.reads) < 8


def test_targets_that_a_dataset_tells_wrongly_are_read():
    class Misleading(Pairs):
        targets = [9] * 60

    assert torch.equal(from_dataset(Misleading(), memory_limit=0).examples.targets, Y)


def test_unknown_targets_of_a_dataset_that_does_not_fit_are_read_in_one_pass():
    dataset = Pairs()
    source = from_dataset(dataset, memory_limit=0)
    assert torch.equal(source.examples.targets, Y)
    assert len(dataset.reads) == 60 + 16


@pytest.mark.parametrize("memory_limit", [0, 2**20])
def test_torchs_own_datasets_tell_their_targets(memory_limit):
    subset = TorchSubset(TensorDataset(X, Y), list(range(5, 50)))
    source = from_dataset(subset, memory_limit=memory_limit)
    assert torch.equal(source.examples.targets, Y[5:50])
    assert torch.equal(torch.cat(list(source.examples.raw_inputs())), X[5:50])


def test_names_and_numbers_are_targets_too():
    named = from_dataset([(x, "ab"[i % 2]) for i, x in enumerate(X)])
    assert named.class_names == ("a", "b")
    numbers = from_dataset([(x, float(i)) for i, x in enumerate(X)])
    assert numbers.task == "regression"
    assert numbers.examples.targets.shape == (60, 1)


def test_pictures_have_their_channels_first():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 5, 4, 3), dtype=np.uint8)
    colour = from_dataset([(Image.fromarray(p), i % 2) for i, p in enumerate(pixels)])
    grey = from_dataset([(Image.fromarray(p[..., 0]), i % 2) for i, p in enumerate(pixels)])
    assert colour.examples.shape == (3, 5, 4)
    assert grey.examples.shape == (1, 5, 4)
    raw = torch.cat(list(colour.examples.raw_inputs()))
    assert raw.dtype == torch.uint8
    np.testing.assert_array_equal(raw, np.moveaxis(pixels, -1, 1))


def test_a_test_dataset_is_the_test_part():
    data = load(from_dataset(Pairs(), test=Pairs(X[:20], Y[:20])))
    assert len(data.open_test(lambda: None)) == 20


def test_augmentation_reaches_images_that_are_read():
    data = load(from_dataset(Pairs(), memory_limit=0))
    seen = []
    everything(data.train, augmentation=lambda x: seen.append(x) or x)
    assert torch.cat(seen).min() >= 0
    assert torch.cat(seen).max() <= 1


def test_normalisation_is_fitted_on_ten_thousand_examples_at_most():
    class Counted(Pairs):
        targets = torch.arange(30_000) % 2

    dataset = Counted(torch.arange(30_000.0)[:, None], Counted.targets)
    source = from_dataset(dataset, memory_limit=0)
    dataset.reads.clear()
    data = load(source, Split(test=100, validation=100))
    assert len(dataset.reads) <= 10_000 + 4 * 256
    x, _ = everything(data.train.take(torch.arange(0, 29_800, 10)))
    assert abs(x.mean()) < 0.02
    assert abs(x.std() - 1) < 0.02


@pytest.mark.parametrize("memory_limit", [0, 2**20])
def test_the_digest_sees_contents_and_targets(memory_limit):
    other = Y.clone()
    other[7] = 2
    datasets = [Pairs(), Pairs(), Pairs(X + 1), Pairs(X, other)]
    digests = [load(from_dataset(d, memory_limit=memory_limit)).digest for d in datasets]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(X[0], 0)])


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), "no map-style dataset"),
        ([], "empty"),
        ([X[0], X[1]], "must give \\(input, target\\)"),
        ([(torch.rand(2 + i % 2), 0) for i in range(30)], "different shapes"),
        ([(X[0] * torch.nan, i) for i in range(30)], "NaN or infinite"),
        ([(X[0], float("nan")) for i in range(30)], "targets of 30 examples are NaN"),
    ],
)
def test_datasets_that_cannot_be_used_are_refused(dataset, message):
    with pytest.raises(UserError, match=message):
        load(dataset)


def test_bad_numbers_are_found_where_a_dataset_does_not_fit():
    x = X.clone()
    x[::2] = torch.nan
    with pytest.raises(UserError, match="NaN or infinite"):
        load(from_dataset(Pairs(x), memory_limit=0))
