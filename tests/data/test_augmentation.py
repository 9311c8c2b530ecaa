from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode, v2

from nnstudy.data import augmentation as aug
from nnstudy.data import datasets, load
from nnstudy.errors import UserError

IMAGES = torch.rand(6, 2, 9, 9, generator=torch.Generator().manual_seed(0))
WIDE = torch.rand(6, 2, 7, 11, generator=torch.Generator().manual_seed(1))
ALL = [
    aug.shift(2),
    aug.crop(2),
    aug.flip(),
    aug.rotate(20),
    aug.affine(degrees=10, shift=1.5, scale=(0.8, 1.2), shear=10),
    aug.elastic(alpha=8, sigma=2),
    aug.compose(aug.shift(1), aug.elastic(8, 2), aug.flip()),
]


def moved(images, right, down):
    """torch.roll with the vacated pixels set to 0."""
    out = torch.roll(images, (down, right), dims=(-2, -1))
    height, width = images.shape[-2:]
    out[..., : max(down, 0), :] = 0
    out[..., height + min(down, 0) :, :] = 0
    out[..., : max(right, 0)] = 0
    out[..., width + min(right, 0) :] = 0
    return out


@pytest.mark.parametrize(
    "identity",
    [
        aug.shift(0),
        aug.crop(0),
        aug.flip(0.0),
        aug.rotate(0),
        aug.affine(),
        aug.elastic(0, 4),
        aug.compose(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("images", [IMAGES, WIDE], ids=["square", "wide"])
def test_parameters_of_nothing_leave_images_as_they_are(identity, images):
    torch.testing.assert_close(identity(images), images, atol=1e-5, rtol=0)


@settings(max_examples=25, deadline=None)
@given(pixels=st.integers(1, 3), seed=st.integers(0, 1000))
def test_a_shifted_image_is_one_of_the_rolled_ones(pixels, seed):
    torch.manual_seed(seed)
    for before, after in zip(WIDE, aug.shift(pixels)(WIDE), strict=True):
        steps = range(-pixels, pixels + 1)
        assert any(torch.equal(after, moved(before, r, d)) for r in steps for d in steps)


def test_all_shifts_are_equally_likely():
    torch.manual_seed(0)
    image = torch.zeros(9000, 1, 5, 5)
    image[:, :, 2, 2] = 1
    share = aug.shift(1)(image).mean((0, 1))
    assert torch.allclose(share[1:4, 1:4], torch.full((3, 3), 1 / 9), atol=0.015)
    assert share.sum() == pytest.approx(1)


@pytest.mark.parametrize("pixels", [2, -3, 0])
def test_an_affine_shift_by_whole_pixels_equals_roll(pixels):
    after = aug.affine(shift=(pixels, pixels))(WIDE)
    torch.testing.assert_close(after, moved(WIDE, pixels, pixels), atol=1e-5, rtol=0)


@pytest.mark.parametrize("quarters", [-1, 1, 2])
def test_quarter_turns_equal_rot90(quarters):
    turned = aug.rotate((90 * quarters, 90 * quarters))(IMAGES)
    torch.testing.assert_close(turned, IMAGES.rot90(quarters, (-2, -1)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("images", [IMAGES, WIDE], ids=["square", "wide"])
def test_a_rotation_is_torchvisions(images):
    ours = aug.rotate((17, 17))(images)
    theirs = v2.functional.rotate(images, 17, InterpolationMode.BILINEAR)
    torch.testing.assert_close(ours[..., 2:-2, 2:-2], theirs[..., 2:-2, 2:-2], atol=1e-4, rtol=0)


@pytest.mark.parametrize("images", [IMAGES, WIDE], ids=["square", "wide"])
def test_an_affine_deformation_is_torchvisions(images):
    step = aug.affine(degrees=(12, 12), shift=(1, 1), scale=(1.3, 1.3), shear=(15, 15))
    theirs = v2.functional.affine(
        images, -12, [1, 1], 1.3, [15, 0], interpolation=InterpolationMode.BILINEAR
    )
    torch.testing.assert_close(step(images), theirs, atol=1e-4, rtol=0)


def test_an_elastic_deformation_follows_simards_formula():
    alpha, sigma = 6.0, 1.5
    torch.manual_seed(3)
    ours = aug.elastic(alpha, sigma)(WIDE)
    torch.manual_seed(3)
    noise = torch.empty(len(WIDE), 2, 7, 11).uniform_(-1, 1).numpy()
    for before, after, field in zip(WIDE.numpy(), ours.numpy(), noise, strict=True):
        right, down = (
            alpha * scipy.ndimage.gaussian_filter(f, sigma, mode="constant", truncate=8)
            for f in field
        )
        rows, columns = np.mgrid[0:7, 0:11]
        for channel in range(2):
            expected = scipy.ndimage.map_coordinates(
                before[channel],
                [rows + down, columns + right],
                order=1,
                mode="grid-constant",
            )
            np.testing.assert_allclose(after[channel], expected, atol=1e-4)


def test_an_elastic_deformation_of_one_image_is_torchvisions():
    torch.manual_seed(3)
    ours = aug.elastic(6.0, 1.5)(WIDE[:1])
    torch.manual_seed(3)
    noise = torch.empty(2, 7, 11).uniform_(-1, 1).numpy()
    pixels = [6 * scipy.ndimage.gaussian_filter(f, 1.5, mode="constant", truncate=8) for f in noise]
    field = torch.from_numpy(np.stack([pixels[0] * 2 / 11, pixels[1] * 2 / 7], axis=-1))[None]
    theirs = v2.functional.elastic(WIDE[:1], field)
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], theirs[..., 1:-1, 1:-1], atol=1e-4, rtol=0)


def test_flips_are_torchvisions_and_as_frequent_as_asked():
    assert torch.equal(aug.flip(1.0)(WIDE), v2.functional.horizontal_flip(WIDE))
    torch.manual_seed(0)
    many = WIDE[:1].expand(4000, -1, -1, -1)
    flipped = (aug.flip(0.3)(many) != many).flatten(1).any(1)
    assert flipped.float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_a_crop_is_a_window_of_the_reflected_image():
    torch.manual_seed(0)
    padded = v2.functional.pad(WIDE, [2, 2, 2, 2], padding_mode="reflect")
    windows = [padded[..., t : t + 7, left : left + 11] for t in range(5) for left in range(5)]
    for i, after in enumerate(aug.crop(2)(WIDE)):
        assert any(torch.equal(after, window[i]) for window in windows)


@pytest.mark.parametrize("step", ALL, ids=repr)
def test_every_example_has_its_own_draw(step):
    torch.manual_seed(1)
    many = IMAGES[:1].expand(32, -1, -1, -1)
    out = step(many)
    assert out.shape == many.shape
    assert len({tuple(x.flatten().tolist()) for x in out}) > 1


@pytest.mark.parametrize("step", ALL, ids=repr)
def test_the_seed_decides_and_the_input_stays_as_it_is(step):
    before = IMAGES.clone()
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(step(IMAGES))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert torch.equal(IMAGES, before)
    assert results[0].min() >= 0
    assert results[0].max() <= 1 + 1e-5


def test_steps_show_how_they_were_made():
    step = aug.compose(aug.shift(1), aug.rotate(10), v2.RandomErasing(p=1.0))
    assert repr(step).startswith("compose(shift(pixels=1), rotate(degrees=10), RandomErasing(")
    assert repr(aug.elastic(34, 4)) == "elastic(alpha=34, sigma=4)"


def test_torchvisions_transforms_take_part():
    step = aug.compose(aug.flip(1.0), v2.RandomHorizontalFlip(p=1.0))
    assert torch.equal(step(WIDE), WIDE)


def test_augmented_minibatches_of_digits_keep_black_black():
    data = load(datasets.digits)
    black = -data.normalisation.mean / data.normalisation.std
    x, _ = next(data.train.minibatches(64, augmentation=aug.shift(3)))
    assert x.shape == (64, 1, 8, 8)
    torch.testing.assert_close(x.amin(), black.float().squeeze())


@pytest.mark.parametrize(
    "make",
    [
        lambda: aug.shift(-1),
        lambda: aug.crop(-1),
        lambda: aug.flip(1.5),
        lambda: aug.affine(scale=(1.2, 0.8)),
        lambda: aug.affine(scale=(0, 1)),
        lambda: aug.elastic(-1, 4),
        lambda: aug.elastic(1, 0),
        lambda: aug.rotate((10, -10)),
    ],
)
def test_parameters_that_cannot_be_meant_are_refused(make):
    with pytest.raises(UserError):
        make()


@pytest.mark.parametrize("images", [torch.rand(4, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)])
def test_what_is_no_minibatch_of_float_images_is_refused(images):
    with pytest.raises(UserError, match=r"shift\(pixels=1\) needs images as floats"):
        aug.shift(1)(images)


def test_a_crop_wider_than_the_image_is_refused():
    with pytest.raises(UserError, match="more than 7 pixels"):
        aug.crop(7)(WIDE)
