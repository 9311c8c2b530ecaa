from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor

from nnstudy.data import Data, Part, Split, load, tensors


def image_data(count: int = 200, *, normalise: str = "standardise") -> Data:
    images = torch.randint(
        0, 256, (count, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return load(tensors(images, torch.arange(count) % 4, normalise=normalise))  # type: ignore[arg-type]


def everything(part: Part, **options: object) -> tuple[Tensor, Tensor]:
    batches = list(part.minibatches(7, **options))  # type: ignore[arg-type]
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def test_minibatches_cover_the_part_in_the_order_asked_for():
    part = image_data().train
    order = part.order(torch.Generator().manual_seed(1))
    stored_x, stored_y = everything(part)
    x, y = everything(part, order=order)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(len(part)))
    assert torch.equal(x, stored_x[order])
    assert torch.equal(y, part.targets[order])
    assert torch.equal(stored_y, part.targets)


def test_order_without_a_generator_is_as_stored_and_with_one_repeats_by_seed():
    part = image_data().train
    assert torch.equal(part.order(None), torch.arange(len(part)))
    orders = [part.order(torch.Generator().manual_seed(s)) for s in (3, 3, 4)]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


@pytest.mark.parametrize("start", [0, 1, 5, 18, 19, 100])
def test_start_leaves_out_the_first_minibatches(start):
    part = image_data().train
    assert len(part) == 128
    order = part.order(torch.Generator().manual_seed(1))
    whole = list(part.minibatches(7, order))
    rest = list(part.minibatches(7, order, start=start))
    assert len(rest) == max(0, 19 - start)
    for (x, y), (x2, y2) in zip(whole[start:], rest, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def test_last_minibatch_may_be_smaller_and_one_may_hold_all():
    part = image_data().train
    assert [len(y) for _, y in part.minibatches(50)] == [50, 50, 28]
    assert [len(y) for _, y in part.minibatches(1000)] == [128]


def test_bytes_become_numbers_standardised_per_channel():
    data = image_data()
    x, _ = everything(data.train)
    assert x.dtype == torch.float32
    assert torch.allclose(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(x.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5)


def test_augmentation_sees_bytes_as_numbers_from_0_to_1_before_they_are_standardised():
    data = image_data()
    seen = []

    def halve(images: Tensor) -> Tensor:
        seen.append(images.clone())
        return images / 2

    x, _ = everything(data.train, augmentation=halve)
    raw, _ = everything(image_data(normalise="unit").train)
    assert torch.allclose(torch.cat(seen), raw)
    assert data.normalisation is not None
    expected = (raw / 2 - data.normalisation.mean) / data.normalisation.std
    assert torch.allclose(x, expected.float(), atol=1e-5)


def test_augmentation_of_float_images_sees_them_before_standardisation_too():
    images = torch.rand(100, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    data = load((images, torch.arange(100) % 2))
    seen = []
    x, _ = everything(data.train, augmentation=lambda x: seen.append(x) or x)
    plain, _ = everything(data.train)
    assert torch.allclose(x, plain, atol=1e-5)
    assert torch.cat(seen).min() >= -1e-6
    assert torch.cat(seen).max() <= 1 + 1e-6


def test_augmentation_of_features_sees_what_the_network_gets():
    data = load((torch.rand(50, 3), torch.rand(50)))
    plain, _ = everything(data.train)
    added, _ = everything(data.train, augmentation=lambda x: x + 1)
    assert torch.equal(added, plain + 1)


def test_changing_a_minibatch_in_place_leaves_the_data_alone():
    for data in (image_data(), load((torch.rand(50, 3), torch.rand(50)))):
        before, _ = everything(data.train)
        for x, y in data.train.minibatches(16):
            x.zero_()
            y.zero_()
        after, targets = everything(data.train)
        assert torch.equal(before, after)
        assert torch.equal(targets, data.train.targets)


def test_taking_examples_keeps_their_normalisation():
    part = image_data().train
    index = torch.tensor([5, 2, 9])
    x, y = everything(part.take(index))
    whole, _ = everything(part)
    assert torch.equal(x, whole[index])
    assert torch.equal(y, part.targets[index])


def test_minibatches_draw_nothing_from_the_global_random_state():
    part = image_data().train
    state = torch.get_rng_state()
    everything(part, order=part.order(torch.Generator().manual_seed(0)))
    assert torch.equal(state, torch.get_rng_state())


def test_an_empty_part_gives_no_minibatches():
    data = load(
        (torch.rand(20, 2), torch.arange(20) % 2), Split(selection=0.0, validation=4, test=4)
    )
    assert len(data.selection) == 0
    assert list(data.selection.minibatches(8)) == []


def test_another_device_gets_the_minibatches():
    data = image_data()
    x, y = next(data.train.minibatches(8, device="meta"))
    assert x.device.type == y.device.type == "meta"
    assert x.shape == (8, 3, 6, 5)
    assert x.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_part_moved_to_the_gpu_gives_the_same_minibatches_there():
    part = image_data().train
    order = part.order(torch.Generator().manual_seed(0))
    here, _ = everything(part, order=order)
    there, targets = everything(part.to("cuda"), order=order)
    sent, _ = everything(part, order=order, device="cuda")
    assert there.is_cuda
    assert targets.is_cuda
    assert torch.allclose(here, there.cpu(), atol=1e-5)
    assert torch.allclose(here, sent.cpu(), atol=1e-5)


def test_minibatches_cost_no_more_than_a_hand_written_loop():
    """Best of interleaved runs in CPU time; eight tries on a busy machine gave 0.98 to 1.10."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8000, 1, 28, 28), dtype=torch.uint8, generator=generator)
    part = load((images, torch.arange(8000) % 10), Split(test=100, validation=100)).train
    raw = torch.cat(list(part.raw_inputs()))
    order = part.order(generator)

    def by_hand() -> None:
        for first in range(0, len(order), 128):
            index = order[first : first + 128]
            raw.index_select(0, index).float().mul_(0.013).add_(-0.42)
            part.targets.index_select(0, index)

    def ours() -> None:
        for _ in part.minibatches(128, order):
            pass

    runs = {by_hand: [], ours: []}
    for _ in range(25):
        for run, seconds in runs.items():
            start = time.process_time()
            run()
            seconds.append(time.process_time() - start)
    assert min(runs[ours]) < 1.25 * min(runs[by_hand])
