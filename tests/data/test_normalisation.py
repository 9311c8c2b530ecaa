from __future__ import annotations

import json

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from nnstudy.data import Normalisation, Split, load, tensors


def whole(part):
    return next(part.minibatches(len(part)))


def test_features_are_standardised_as_scikit_learn_does():
    x = np.random.default_rng(0).normal(1e6, [1, 10, 1000], (500, 3))
    fitted = Normalisation.fit(
        [torch.from_numpy(x[:200]), torch.from_numpy(x[200:])], "standardise"
    )
    scaler = StandardScaler().fit(x)
    np.testing.assert_allclose(fitted.mean, scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(fitted.std, scaler.scale_, rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(0, 1000))
def test_the_pieces_in_which_examples_come_make_no_difference(sizes, seed):
    x = torch.from_numpy(np.random.default_rng(seed).normal(3, 2, (sum(sizes), 2, 3)))
    one = Normalisation.fit([x], "standardise")
    many = Normalisation.fit(torch.split(x, sizes), "standardise")
    torch.testing.assert_close(one.mean, many.mean)
    torch.testing.assert_close(one.std, many.std)


def test_only_training_examples_are_looked_at():
    x = torch.rand(100, 3, generator=torch.Generator().manual_seed(0))
    y = torch.arange(100) % 2
    data = load(tensors(x, y, test=(x + 1000, y)))
    inputs, _ = whole(data.train)
    assert torch.allclose(inputs.mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(inputs.std(0, correction=0), torch.ones(3), atol=1e-5)
    held_out, _ = whole(data.validation)
    assert held_out.mean(0).abs().max() > 1e-3


def test_constant_features_become_zero():
    x = torch.rand(60, 3) + 0.1
    x[:, 1] = 0.1
    data = load((x, torch.rand(60)))
    inputs, _ = whole(data.train)
    assert torch.equal(inputs[:, 1], torch.zeros(len(inputs)))
    assert inputs.isfinite().all()


def test_sequences_are_standardised_per_feature_over_time():
    x = torch.rand(80, 5, 2) * torch.tensor([1.0, 100.0]) + torch.tensor([0.0, 7.0])
    data = load((x, torch.rand(80)))
    inputs, _ = whole(data.train)
    assert data.shape == (5, 2)
    assert torch.allclose(inputs.mean((0, 1)), torch.zeros(2), atol=1e-4)
    assert torch.allclose(inputs.std((0, 1), correction=0), torch.ones(2), atol=1e-4)


def test_unit_divides_bytes_by_255_and_nothing_else():
    x = torch.randint(0, 256, (50, 1, 3, 3), dtype=torch.uint8)
    data = load(tensors(x, torch.arange(50), task="regression", normalise="unit"))
    inputs, targets = whole(data.train)
    torch.testing.assert_close(inputs, x[targets[:, 0].long()] / 255)


def test_unit_spreads_features_between_least_and_largest_training_value():
    x = torch.rand(50, 2) * 40 - 7
    data = load(tensors(x, torch.rand(50), normalise="unit"))
    inputs, _ = whole(data.train)
    torch.testing.assert_close(inputs.amin(0), torch.zeros(2))
    torch.testing.assert_close(inputs.amax(0), torch.ones(2))


def test_none_leaves_numbers_as_they_are():
    numbers = torch.rand(50, 2, dtype=torch.float64) * 40
    as_bytes = torch.randint(0, 256, (50, 1, 2, 2), dtype=torch.uint8)
    for x in (numbers, as_bytes):
        data = load(tensors(x, torch.arange(50.0), normalise="none"))
        inputs, targets = whole(data.train)
        assert torch.equal(inputs, x[targets[:, 0].long()].float())
        assert data.normalisation is None


def test_indices_of_words_are_passed_on_as_they_are():
    words = torch.randint(0, 1000, (50, 7))
    inputs, _ = whole(load((words, torch.arange(50) % 2)).train)
    assert inputs.dtype == torch.int64
    assert inputs.max() > 1


def test_standardised_targets_can_be_turned_back():
    y = torch.rand(100) * 300 + 25
    data = load(tensors(torch.rand(100, 2), y, standardise_targets=True), Split(seed=1))
    plain = load(tensors(torch.rand(100, 2), y), Split(seed=1))
    assert torch.allclose(data.train.targets.mean(), torch.tensor(0.0), atol=1e-5)
    restored = data.target_normalisation.restore(data.validation.targets)
    torch.testing.assert_close(restored, plain.validation.targets)


def test_a_normalisation_is_described_in_numbers():
    fitted = Normalisation.fit([torch.tensor([[0], [255]], dtype=torch.uint8)], "standardise")
    assert fitted.to_dict() == {"mean": [0.5], "std": [0.5], "full_scale": 255.0}


def test_a_described_normalisation_is_made_again_with_its_shape():
    fitted = Normalisation.fit([torch.rand(5, 3, 2, 2)], "standardise")
    again = Normalisation.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again.mean.shape == (3, 1, 1)
    assert torch.equal(again.mean, fitted.mean)
    assert torch.equal(again.std, fitted.std)
