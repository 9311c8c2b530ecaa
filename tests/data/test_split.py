from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudy.data import Split, Subset, load, tensors
from nnstudy.data.split import hold_out
from nnstudy.errors import UserError

PARTS = ("train", "validation", "selection")


def numbered(count, classes=3):
    """Data whose only feature is the example's number, so that it can be recognised."""
    return tensors(torch.arange(float(count)), torch.arange(count) % classes, normalise="none")


def numbers(part):
    return [int(i) for x, _ in part.minibatches(1000) for i in x.flatten()]


def dealt(data):
    parts = {name: numbers(getattr(data, name)) for name in PARTS}
    return parts | {"test": numbers(data.open_test(lambda: None))}


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(40, 150),
    classes=st.integers(2, 12),
    validation=st.one_of(st.floats(0.1, 0.6), st.integers(2, 15)),
    selection=st.floats(0, 0.5),
    test=st.one_of(st.floats(0.1, 0.5), st.integers(1, 15)),
    seed=st.integers(0, 2**32 - 1),
)
def test_parts_are_disjoint_and_cover_everything(count, classes, validation, selection, test, seed):
    split = Split(validation=validation, selection=selection, test=test, seed=seed)
    parts = dealt(load(numbered(count, classes), split))
    assert sorted(i for part in parts.values() for i in part) == list(range(count))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_same_seed_gives_the_same_parts(seed):
    one, other = (dealt(load(numbered(60), Split(seed=seed))) for _ in range(2))
    assert one == other


def test_another_seed_gives_other_parts():
    assert dealt(load(numbered(60), Split(seed=0))) != dealt(load(numbered(60), Split(seed=1)))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(40, 80), min_size=2, max_size=4), st.integers(0, 100))
def test_every_part_has_the_classes_in_the_shares_of_the_whole(counts, seed):
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    data = load((torch.rand(len(targets), 2), targets), Split(seed=seed))
    for part in (data.train, data.validation, data.selection, data.open_test(lambda: None)):
        share = len(part) / len(targets)
        got = torch.bincount(part.targets, minlength=len(counts))
        assert (got - share * torch.tensor(counts)).abs().max() <= 2


def test_a_class_with_one_example_is_dealt_out_plainly():
    targets = torch.tensor([0] * 30 + [1] * 30 + [2])
    data = load((torch.arange(61.0), targets))
    parts = (data.train, data.validation, data.selection, data.open_test(lambda: None))
    assert sum(len(part) for part in parts) == 61


def test_sizes_as_shares_and_as_numbers():
    data = load(numbered(100), Split(validation=0.25, selection=0.4, test=20))
    assert {k: len(v) for k, v in dealt(data).items()} == {
        "train": 60,
        "validation": 12,
        "selection": 8,
        "test": 20,
    }


def test_selection_may_be_empty():
    data = load(numbered(100), Split(validation=30, selection=0))
    assert (len(data.validation), len(data.selection)) == (30, 0)


def test_a_test_set_of_its_own_is_taken_whole():
    x, y = torch.arange(60.0), torch.arange(60) % 3
    data = load(tensors(x, y, test=(x + 100, y), normalise="none"))
    assert dealt(data)["test"] == list(range(100, 160))
    assert len(data.train) + len(data.validation) + len(data.selection) == 60


@pytest.mark.parametrize(
    "options",
    [
        {"validation": 0.0},
        {"validation": 1.0},
        {"validation": 0},
        {"validation": -5},
        {"validation": True},
        {"validation": float("nan")},
        {"selection": 1.0},
        {"selection": -0.1},
        {"test": 0},
        {"test": 1.5},
        {"seed": -1},
        {"seed": 2**32},
    ],
)
def test_sizes_that_cannot_be_meant_are_refused(options):
    with pytest.raises(UserError, match=f"Split\\({next(iter(options))}"):
        Split(**options)


@pytest.mark.parametrize("options", [{"validation": 80}, {"test": 100}, {"test": 0.001}])
def test_a_split_that_leaves_a_part_empty_is_refused(options):
    with pytest.raises(UserError, match="leaves a part empty"):
        load(numbered(100), Split(**options))


def test_chosen_classes_are_numbered_anew_and_keep_their_names():
    x, y = torch.arange(90.0), torch.arange(90) % 3
    source = tensors(x, y, class_names=("ant", "bee", "cat"), normalise="none")
    data = load(source, subset=Subset(classes=(2, 0)))
    assert data.class_names == ("ant", "cat")
    assert (data.classes, data.outputs) == (2, 2)
    for part in (data.train, data.validation, data.selection, data.open_test(lambda: None)):
        original = torch.tensor(numbers(part)) % 3
        assert torch.equal(part.targets, (original == 2).long())


def test_a_subset_keeps_as_many_examples_as_asked_in_equal_shares():
    whole = load(numbered(300))
    data = load(numbered(300), subset=Subset(examples=60, valid_examples=15))
    assert torch.bincount(data.train.targets).tolist() == [20, 20, 20]
    assert torch.bincount(data.validation.targets).tolist() == [5, 5, 5]
    assert set(numbers(data.train)) <= set(numbers(whole.train))
    assert set(numbers(data.validation)) <= set(numbers(whole.validation))
    assert numbers(data.selection) == numbers(whole.selection)


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        (Subset(classes=(0, 7)), "has no class 7: its classes are 0 to 2"),
        (Subset(examples=1000), "1000 training examples were asked for, there are only 192"),
        (Subset(valid_examples=99), "99 validation examples were asked for"),
    ],
)
def test_a_subset_that_is_not_there_is_refused(subset, message):
    with pytest.raises(UserError, match=message):
        load(numbered(300), subset=subset)


def test_a_regression_problem_has_no_classes_to_choose():
    with pytest.raises(UserError, match="regression"):
        load((torch.rand(30, 2), torch.rand(30)), subset=Subset(classes=(0, 1)))


@pytest.mark.parametrize("options", [{"classes": (1, 1)}, {"examples": 0}, {"valid_examples": -1}])
def test_subsets_that_cannot_be_meant_are_refused(options):
    with pytest.raises(UserError):
        Subset(**options)


def test_without_shuffling_the_last_examples_are_held_out() -> None:
    targets = torch.tensor([0, 1] * 10)

    rest, held = hold_out(targets, 5, seed=0, stratify=True, shuffle=False)

    assert rest.tolist() == list(range(15))
    assert held.tolist() == list(range(15, 20))
