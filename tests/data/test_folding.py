"""Folds: disjoint, stratified, the same for all, and normalised by what they train on alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nnstudy.data import Data, Folds, LoaderPart, Part, Split, from_dataset, load, tensors
from nnstudy.errors import UserError
from tests.data.test_reading import Pairs

# Each example is told by its last number, a whole one.
NUMBERED = torch.cat(
    [
        torch.rand(90, 4, generator=torch.Generator().manual_seed(1)) * 50 + 7,
        torch.arange(90.0)[:, None],
    ],
    1,
)
Y = torch.arange(90) % 3


def values(part: Part) -> Tensor:
    return torch.cat([x for x, _ in part.minibatches(16)]) if len(part) else torch.empty(0)


def raw(part: Part) -> Tensor:
    """The inputs of a part as they came."""
    inputs = values(part).double()
    scale = part.normalisation
    return inputs if scale is None else scale.restore(inputs) * scale.full_scale


def numbers(part: Part) -> list[int]:
    return sorted(raw(part)[:, -1].round().int().tolist()) if len(part) else []


@settings(deadline=None, max_examples=25)
@given(count=st.integers(2, 12), seed=st.integers(0, 50), examples=st.integers(24, 90))
def test_each_example_of_training_and_validation_part_is_held_out_once(
    count: int, seed: int, examples: int
) -> None:
    data = load((NUMBERED[:examples], Y[:examples]), Split(seed=seed))
    pool = sorted(numbers(data.train) + numbers(data.validation))
    folds = [Folds(data, count)[i] for i in range(count)]
    assert sorted(n for fold in folds for n in numbers(fold.validation)) == pool
    for fold in folds:
        assert sorted(numbers(fold.train) + numbers(fold.validation)) == pool
        assert numbers(fold.selection) == numbers(data.selection)
        assert numbers(fold.open_test(lambda: None)) == numbers(data.open_test(lambda: None))
    sizes = [len(fold.validation) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_classes_have_equal_shares_in_every_fold() -> None:
    data = load((NUMBERED, Y))
    for index in range(5):
        counts = Folds(data, 5)[index].validation.targets.bincount()
        assert counts.max() - counts.min() <= 1


def test_classes_with_too_few_examples_for_the_folds_are_dealt_out_all_the_same() -> None:
    targets = torch.zeros(60, dtype=torch.long)
    targets[:8] = 1
    data = load((NUMBERED[:60], targets), Split(selection=0.0))
    folds = Folds(data, 12)
    assert sum(len(folds[i].validation) for i in range(12)) == 48


def test_folds_without_shuffling_are_stretches_of_neighbours() -> None:
    data = load((NUMBERED, Y), Split(shuffle=False, selection=0.0))
    held = numbers(Folds(data, 6)[2].validation)
    assert held == list(range(held[0], held[0] + 12))


@pytest.mark.parametrize("normalise", ["standardise", "unit", "none"])
def test_a_fold_is_normalised_by_its_training_part_as_if_it_had_come_alone(normalise: str) -> None:
    data = load(tensors(NUMBERED, Y, normalise=normalise))  # type: ignore[arg-type]
    fold = Folds(data, 4)[1]
    came = NUMBERED.double()[numbers(fold.train)]
    expected = {
        "standardise": lambda x: (x - came.mean(0)) / came.std(0, correction=0),
        "unit": lambda x: (x - came.amin(0)) / (came.amax(0) - came.amin(0)),
        "none": lambda x: x,
    }[normalise]
    for part in (fold.train, fold.validation, fold.selection):
        order = raw(part)[:, -1].round().long()
        torch.testing.assert_close(
            values(part).double(), expected(NUMBERED.double()[order]), atol=1e-5, rtol=1e-5
        )


def test_what_is_held_out_does_not_leak_into_the_inputs_that_are_trained_on() -> None:
    plain = load((NUMBERED, Y))
    held = numbers(Folds(plain, 5)[3].validation)
    shifted = NUMBERED.clone()
    shifted[held, :4] += 1000
    other = Folds(load((shifted, Y)), 5)[3]
    torch.testing.assert_close(
        values(other.train), values(Folds(plain, 5)[3].train), atol=1e-3, rtol=0
    )
    assert values(other.validation)[:, :4].min() > 20
    # Fitted to the pool, the same shift would have moved every number.
    assert (values(load((shifted, Y)).train)[:, 0] - values(plain.train)[:, 0]).abs().max() > 0.1


def test_numbers_to_predict_are_standardised_by_the_fold_too() -> None:
    targets = NUMBERED[:, :1] * 3
    data = load(tensors(NUMBERED, targets, task="regression", standardise_targets=True))
    fold = Folds(data, 3)[0]
    assert fold.target_normalisation is not None
    torch.testing.assert_close(fold.train.targets.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    came = fold.target_normalisation.restore(fold.validation.targets.double())
    torch.testing.assert_close(came, raw(fold.validation)[:, :1] * 3, atol=1e-3, rtol=1e-5)


def images(kind: str) -> Data:
    dataset = Pairs(torch.randint(0, 256, (60, 3, 4, 4), dtype=torch.uint8), torch.arange(60) % 3)
    return load(from_dataset(dataset, memory_limit=0 if kind == "read" else 10**6))


@pytest.mark.parametrize("kind", ["read", "held"])
def test_folds_of_bytes_are_fitted_to_the_bytes(kind: str) -> None:
    data = images(kind)
    assert isinstance(data.train, LoaderPart) == (kind == "read")
    fold = Folds(data, 4)[2]
    channels = values(fold.train).movedim(1, 0).flatten(1)
    torch.testing.assert_close(channels.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(channels.std(1, correction=0), torch.ones(3), atol=1e-5, rtol=0)
    assert len(fold.train) + len(fold.validation) == len(data.train) + len(data.validation)


def test_a_share_of_a_fold_keeps_all_that_it_is_validated_on() -> None:
    data = load((NUMBERED, Y))
    whole, part = Folds(data, 3)[1], Folds(data, 3, share=0.5)[1]
    assert len(part.train) == round(len(whole.train) / 2)
    assert torch.equal(values(part.validation), values(whole.validation))
    assert set(numbers(part.train)) < set(numbers(whole.train))


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_a_number_of_folds_that_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(UserError, match=r"cannot be dealt out to .* folds: give a number from 2"):
        Folds(load((NUMBERED, Y)), count)
